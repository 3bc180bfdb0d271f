"""PyTorch's fused linear cross entropy in the call of the function, whichever way it runs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Small enough that ordinary inputs take several chunks, the last of them ragged.
ROWS = 7
#: No input takes more chunks than this.
CHUNKS = 256


def chunked(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``F.linear_cross_entropy`` in chunks of rows, its backward as often as asked."""
    options: Any = torch.nn.LinearCrossEntropyOptions(
        batch_chunk_size=max(ROWS, math.ceil(input.shape[0] / CHUNKS)), allow_retain_graph=True
    )
    return functional.linear_cross_entropy(
        input,
        linear_weight,
        target,
        linear_bias=linear_bias,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        options=options,
    )


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
    make: Any = torch.nn.LinearCrossEntropyLoss
    loss = make(
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
