"""Classes split over several processes, here within one: what a gradient forgets."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import Rows
from ._base import Call, kept, mutant, reduced, replaced, row_losses

#: Among how many processes the classes are split.
SHARDS = 2


def _shard_of(rows: Rows) -> Tensor:
    """(c): the process that each class belongs to."""
    classes = torch.arange(rows.logits.shape[-1], device=rows.logits.device)
    return torch.cat(
        [torch.full_like(own, i) for i, own in enumerate(classes.tensor_split(SHARDS))]
    )


def _differentiated(call: Call, where: Tensor) -> Tensor:
    """The loss, of which gradients reach only the logits at ``where`` (*rows, c)."""
    rows = call.rows()
    logits = replaced(torch.where(where, rows.logits, 0.0), rows.logits.detach())
    rows = replace(rows, logits=logits)
    return reduced(rows, kept(rows, row_losses(rows)))


@mutant(
    source="apple/ml-cross-entropy#42",
    caught_by=("gradients.every_entry", "gradients.every_class", "values.plain_mean"),
)
def only_own_shard_differentiated(call: Call) -> Tensor:
    """Backward returns what the first process contributes: its own classes' gradient."""
    rows = call.rows()
    own = _shard_of(rows) == 0
    return _differentiated(call, own.expand(rows.logits.shape))


@mutant(
    source="modelscope/ms-swift#9947",
    caught_by=("gradients.every_entry", "gradients.every_class", "reductions.none"),
)
def remote_shards_not_differentiated(call: Call) -> Tensor:
    """Processes that do not own a row's target get no gradient for it."""
    rows = call.rows()
    shard = _shard_of(rows)
    if rows.soft or not len(shard):
        return _differentiated(call, torch.ones_like(rows.logits, dtype=torch.bool))
    return _differentiated(call, shard == shard[rows.target].unsqueeze(-1))
