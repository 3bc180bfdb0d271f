"""Binary cross entropy as two softplus: one for the positive part of a target, one for the rest.

softplus is linear beyond its threshold; the default of 20 would cost float64 its last digits.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .elements import reduced, widened

THRESHOLD = 50.0


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Loss = p y softplus(-x) + (1 - y) softplus(x), times the weight; weights broadcast."""
    if target.shape != input.shape:
        raise ValueError(f"target has shape {tuple(target.shape)}, input {tuple(input.shape)}")
    x, y = widened(input), widened(target)
    positive = y if pos_weight is None else y * widened(pos_weight)
    below, above = F.softplus(-x, threshold=THRESHOLD), F.softplus(x, threshold=THRESHOLD)
    losses = positive * below + (1 - y) * above
    if weight is not None:
        losses = losses * widened(weight)
    return reduced(losses, reduction, input.dtype)
