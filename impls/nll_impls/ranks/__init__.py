"""Losses over real process groups, called as one function.

:func:`~nll_impls.ranks.caller.on_ranks` is what a loss is made with.  It asks the **nursery**, a
process that has imported the package, for **ranks**, which compute on their shards; tensors
travel between them as **parcels**.
"""
