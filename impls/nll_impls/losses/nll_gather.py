"""NLL of log-probabilities by hand: the entry at the target, its sign changed."""

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
    mask: Tensor | None = None,
) -> Tensor:
    """NLL of the rows where ``mask``, boolean of shape (*rows), is true."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, mask=mask).wide()
    return rows.reduced(rows.losses(rows.logits, torch.neg))
