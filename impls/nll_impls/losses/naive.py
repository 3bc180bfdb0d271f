"""The tutorial's cross entropy: softmax, gather, log, mean.

Wrong by design where a probability rounds to 0 (its logarithm is -inf) or to 1 (the loss is
lost): the reason why everybody else subtracts logarithms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import Rows


def loss(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Cross entropy of class indices, from probabilities."""
    rows = Rows.of(input, target, ignore_index=ignore_index, reduction=reduction)
    probabilities = torch.softmax(rows.logits, dim=-1)
    picked = rows.at_target(probabilities).squeeze(-1)
    return rows.reduced(-torch.log(picked))
