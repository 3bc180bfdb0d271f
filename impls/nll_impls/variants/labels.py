"""Binary cross entropies of logits by other routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.elements import reduced, widened
from ._declare import COMPOSED, variant

#: From logits in at least float32: the losses of label 1 and of label 0.
Costs = Callable[[Tensor], tuple[Tensor, Tensor]]


def _loss(costs: Costs) -> Callable[..., Tensor]:
    def loss(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> Tensor:
        """Binary cross entropy by the costs given."""
        if target.shape != input.shape:
            raise ValueError("target and input differ in shape")
        y = widened(target)
        of_one, of_zero = costs(widened(input))
        positive = y if pos_weight is None else y * widened(pos_weight)
        losses = positive * of_one + (1 - y) * of_zero
        losses = losses if weight is None else losses * widened(weight)
        return reduced(losses, reduction, input.dtype)

    return loss


def _by_logsigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return -F.logsigmoid(x), -F.logsigmoid(-x)


def _by_logaddexp(x: Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(x)
    return torch.logaddexp(zero, -x), torch.logaddexp(x, zero)


def _as_two_classes(x: Tensor) -> tuple[Tensor, Tensor]:
    log_p = torch.stack([torch.zeros_like(x), x], -1).log_softmax(-1)
    return -log_p[..., 1], -log_p[..., 0]


class _Mean(torch.autograd.Function):
    """log(1 + exp x) whose backward is written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """max(x, 0) + log1p(exp(-|x|))."""
        ctx.save_for_backward(x)
        return x.clamp(min=0) + (-x.abs()).exp().log1p()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The sigmoid, from whichever side loses no digits."""
        (x,) = ctx.saved_tensors
        small = (-x.abs()).exp()
        gradient: Tensor = grad * torch.where(x < 0, small, 1.0) / (1 + small)
        return gradient


def _with_backward(x: Tensor) -> tuple[Tensor, Tensor]:
    return _Mean.apply(-x), _Mean.apply(x)  # type: ignore[no-untyped-call]


binary_by_logsigmoid = _loss(_by_logsigmoid)
binary_by_logaddexp = _loss(_by_logaddexp)
binary_as_two_classes = _loss(_as_two_classes)
binary_with_backward = _loss(_with_backward)


def binary_in_double(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """PyTorch's own loss of float64 tensors."""
    wide = [None if tensor is None else tensor.double() for tensor in (weight, pos_weight)]
    loss = F.binary_cross_entropy_with_logits(
        input.double(), target.double(), wide[0], reduction=reduction, pos_weight=wide[1]
    )
    return loss.to(input.dtype)


IMPLEMENTATIONS = (
    *(
        variant(__name__, f"binary_{name}", family="bce_with_logits", promises=COMPOSED)
        for name in ("by_logsigmoid", "by_logaddexp", "as_two_classes", "in_double")
    ),
    variant(__name__, "binary_with_backward", family="bce_with_logits"),
)
