"""``logsumexp`` of the row minus the logit at the target: no row of log-probabilities."""

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
    """Cross entropy without normalising the classes that nobody asks for."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    log_sum = torch.logsumexp(rows.logits, dim=-1, keepdim=True)
    return rows.reduced(rows.losses(rows.logits, lambda logits: log_sum - logits))
