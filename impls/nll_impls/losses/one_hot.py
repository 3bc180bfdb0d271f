"""The textbook's sum over all classes against a one-hot (or any other) distribution."""

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
    """Cross entropy between two distributions; indices become one-hot rows."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    return rows.reduced(rows.expected(-log_probabilities))
