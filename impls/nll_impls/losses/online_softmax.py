"""One pass over blocks of classes with a running maximum and sum; backward recomputes.

Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.  Between forward
and backward only the logits and one number a row are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .rows import Rows

#: Small enough that ordinary inputs take several blocks, the last of them ragged.
CLASSES = 32


class OnlineLogSumExp(torch.autograd.Function):
    """``logsumexp`` over the last dimension: (*rows, c) to (*rows, 1)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> Tensor:
        """The running maximum plus the logarithm of the running sum."""
        first, *others = torch.split(logits, CLASSES, dim=-1)
        top = first.amax(-1, keepdim=True)
        total = (first - _finite(top)).exp().sum(-1, keepdim=True)
        for block in others:
            higher = torch.maximum(top, block.amax(-1, keepdim=True))
            shift = _finite(higher)
            total = total * (top - shift).exp()
            total = total + (block - shift).exp().sum(-1, keepdim=True)
            top = higher
        return top + total.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keep the logits and the result."""
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """The softmax, block by block; differentiable itself."""
        logits, log_sum = ctx.saved_tensors
        blocks = torch.split(logits, CLASSES, dim=-1)
        return torch.cat([(block - log_sum).exp() * grads[0] for block in blocks], dim=-1)


def _finite(top: Tensor) -> Tensor:
    """The maximum to subtract: 0 for a block of -inf, lest -inf - -inf make NaN."""
    return torch.where(torch.isneginf(top), 0.0, top)


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy in the memory of its input."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    log_sum: Tensor = OnlineLogSumExp.apply(rows.logits)  # type: ignore[no-untyped-call]
    return rows.reduced(rows.losses(rows.logits, lambda logits: log_sum - logits))
