"""The composition that the fused losses replace: all logits, then their cross entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of hidden states (n, h) under a head (c, h) and a bias (c,)."""
    return functional.cross_entropy(
        functional.linear(input, linear_weight, linear_bias),
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
