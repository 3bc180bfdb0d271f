"""``log_softmax``, then the entry at the target, in the input's own dtype."""

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
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy as PyTorch's documentation defines it."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing)
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    return rows.reduced(rows.losses(log_probabilities, torch.neg))
