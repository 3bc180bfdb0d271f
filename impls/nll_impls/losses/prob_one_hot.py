"""NLL of probabilities as a scalar product with one-hot rows, before the logarithm.

The textbook's ``-sum_j q_j log p_j`` computes 0 * log 0 = NaN at classes of probability 0;
``-log sum_j q_j p_j`` is the same number and does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .prob_gather import counted
from .rows import Rows, scaled


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """NLL of probabilities (C,), (N, C) or (N, C, d1, ...), one class each."""
    rows = Rows.of(input, target, weight, ignore_index, reduction).wide()
    hot = rows.distribution()
    picked = (hot * rows.logits).sum(-1, keepdim=True)
    losses = -torch.log(counted(rows, picked)).squeeze(-1)
    if rows.weight is not None:
        losses = scaled((hot * rows.weight).sum(-1), losses)
    return rows.reduced(losses)
