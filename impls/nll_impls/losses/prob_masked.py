"""NLL of probabilities over padded sequences: a boolean mask says which positions count.

Every loss is in the input's own dtype, and the mean is one over all counted positions of
the batch, not a mean of each sequence's mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .prob_gather import counted
from .rows import Rows


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    mask: Tensor | None = None,
) -> Tensor:
    """NLL of probabilities (N, C, T) where ``mask`` (N, T) is true."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, mask=mask)
    return rows.reduced(rows.losses(rows.logits, lambda p: -torch.log(counted(rows, p))))
