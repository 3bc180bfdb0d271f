"""The tutorials' NLL of probabilities: gather, log, mean.

Gathered first, so that a class of probability 0 that is nobody's target never meets the
logarithm, whose gradient there would be 0/0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import Rows


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """NLL of probabilities (C,), (N, C) or (N, C, d1, ...), one class each."""
    rows = Rows.of(input, target, weight, ignore_index, reduction).wide()
    return rows.reduced(rows.losses(rows.logits, lambda p: -torch.log(counted(rows, p))))


def counted(rows: Rows, picked: Tensor) -> Tensor:
    """``picked`` (*rows, 1), 1 in rows that do not count: their logarithm is 0."""
    return torch.where(rows.kept.unsqueeze(-1), picked, 1.0)
