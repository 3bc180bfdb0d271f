"""A cross entropy around any way to get log-probabilities of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..losses.rows import Rows

#: From finite or -inf logits (R, C), R >= 0, C >= 1: log-probabilities and probabilities.
Engine = Callable[[Tensor], tuple[Tensor, Tensor]]
Loss = Callable[..., Tensor]


class _LogSoftmax(torch.autograd.Function):
    """What an engine computes, with the gradient by hand and none of second order."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, engine: Engine) -> Tensor:
        """The log-probabilities; the probabilities are kept."""
        log_p, p = engine(logits)
        ctx.save_for_backward(p)
        return log_p

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient less its sum's share of each probability."""
        (p,) = ctx.saved_tensors
        return grad - p * grad.sum(-1, keepdim=True), None


def by_hand(engine: Engine) -> Loss:
    """The loss that asks an engine which autograd does not see into."""
    return composed(lambda x: _LogSoftmax.apply(x, engine))  # type: ignore[no-untyped-call]


def composed(log_softmax: Callable[[Tensor], Tensor]) -> Loss:
    """The loss that asks a differentiable ``log_softmax`` of rows (R, C)."""

    def loss(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Cross entropy by the engine given."""
        rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
        logits = rows.logits
        flat = log_softmax(logits.reshape(-1, logits.shape[-1]))
        return rows.reduced(rows.losses(flat.reshape(logits.shape), torch.neg))

    return loss


def finite(top: Tensor) -> Tensor:
    """A maximum to subtract: 0 for a block of -inf, lest -inf - -inf make NaN."""
    return torch.where(torch.isneginf(top), 0.0, top)
