"""PyTorch's fused linear cross entropy in the call of the function, whichever way it runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import LinearCrossEntropyLoss  # PyTorch 2.13 and later


def module(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``nn.LinearCrossEntropyLoss``, which owns its head, with the caller's head in it."""
    classes, size = linear_weight.shape
    loss = LinearCrossEntropyLoss(
        size,
        classes,
        bias=linear_bias is not None,
        device="meta",
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    parameters = {"linear.weight": linear_weight}
    if linear_bias is not None:
        parameters["linear.bias"] = linear_bias
    result: Tensor = torch.func.functional_call(loss, parameters, (input, target))
    return result
