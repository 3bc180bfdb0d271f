"""A right cross entropy in steps, each of which a mutant may replace by a wrong one.

It takes all that PyTorch's takes, computes 16-bit inputs in float32, and gives ignored rows
a gradient of exactly zero, whatever they hold.  ``c`` is the number of classes, ``*rows``
the shape of the predictions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses.rows import Rows, scaled, widened
from . import _mutant

#: An index that no target meets.
NEVER = -(2**62)


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of a cross entropy."""

    input: Tensor
    target: Tensor
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    def rows(self) -> Rows:
        """The call as rows, ignored ones blanked, in at least float32; refuses nonsense."""
        return Rows.of(**vars(self)).wide()

    def but(self, **changes: Any) -> Call:
        """The same call with other arguments."""
        return replace(self, **changes)

    @property
    def soft(self) -> bool:
        """Whether the target holds class probabilities."""
        return self.target.is_floating_point()

    def logits(self) -> Tensor:
        """(*rows, c) in at least float32; what stands in ignored rows stays."""
        axis = 0 if self.input.dim() == 1 else 1
        return widened(self.input).movedim(axis, -1)


mutant = functools.partial(_mutant.mutant, family="cross_entropy", call=Call)


def cross_entropy(call: Call) -> Tensor:
    """The right loss."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows)))


def row_losses(rows: Rows, log_probabilities: Tensor | None = None) -> Tensor:
    """(*rows), also of ignored rows, whose logits are blank."""
    if log_probabilities is None:
        log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    return rows.losses(log_probabilities, torch.neg)


def kept(rows: Rows, losses: Tensor) -> Tensor:
    """The losses, 0 where rows are ignored."""
    return torch.where(rows.kept, losses, 0.0)


def counted(rows: Rows) -> Tensor:
    """What ``mean`` divides by: the rows that count, weighted if they have class indices."""
    if rows.weight is None or rows.soft:
        return rows.kept.sum()
    return torch.where(rows.kept, rows.of_targets(rows.weight), 0.0).sum()


def reduced(rows: Rows, losses: Tensor, count: Tensor | int | None = None) -> Tensor:
    """The result of the call, from the losses as they are; ``mean`` divides by ``count``."""
    if rows.reduction == "none":
        return losses.reshape(rows.kept.shape).to(rows.dtype)
    total = losses.sum()
    if rows.reduction == "mean":
        total = total / (counted(rows) if count is None else count)
    return total.to(rows.dtype)


def shares(rows: Rows) -> Tensor:
    """(*rows, c): what each class's ``-log p`` is multiplied by in the row's loss."""
    share = rows.distribution()
    return share if rows.weight is None else share * rows.weight


def spread(share: Tensor, log_probabilities: Tensor) -> Tensor:
    """(*rows): the losses that a share of each class makes."""
    return scaled(share, -log_probabilities).sum(-1)


def is_mean(rows: Rows) -> bool:
    """Whether the call asks for the mean."""
    return rows.reduction == "mean"


# --- the gradient by hand -----------------------------------------------------------------


@dataclass(eq=False)
class Saved:
    """What backward needs; tensors of its own, none of the caller's."""

    probabilities: Tensor  #: (*rows, c)
    share: Tensor  #: (*rows, c)
    kept: Tensor  #: (*rows) bool
    count: Tensor | None  #: what the mean divides by
    dtype: torch.dtype  #: of the input
    stored: Tensor | None = None  #: for those who compute the gradient in advance

    def upstream(self, grad: Tensor) -> Tensor:
        """(*rows): what arrives at each row's loss."""
        grad = widened(grad)
        if self.count is not None:
            grad = grad / self.count
        return torch.where(self.kept, grad, 0.0)

    def inner(self) -> Tensor:
        """(*rows, c): the derivative of each row's loss."""
        return self.probabilities * self.share.sum(-1, keepdim=True) - self.share

    def gradient(self, grad: Tensor) -> Tensor:
        """(*rows, c): the gradient of the logits."""
        return self.upstream(grad).unsqueeze(-1) * self.inner()


Derivative: TypeAlias = Callable[[Saved, Tensor], Tensor]


class _ByHand(torch.autograd.Function):
    """Forward and backward of the whole loss in one step, the reduction included."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, share: Tensor, rows: Rows, derivative: Derivative
    ) -> Tensor:
        rows = replace(rows, logits=logits)
        ctx.log_probabilities = torch.log_softmax(logits, dim=-1)
        count = counted(rows) if is_mean(rows) else None
        probabilities = ctx.log_probabilities.exp()
        ctx.saved = Saved(probabilities, share.detach().clone(), rows.kept, count, rows.dtype)
        ctx.derivative = derivative
        return reduced(rows, kept(rows, row_losses(rows, ctx.log_probabilities)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_logits = of_share = None
        if ctx.needs_input_grad[1]:
            of_share = -ctx.saved.upstream(grad).unsqueeze(-1) * ctx.log_probabilities
        if ctx.needs_input_grad[0]:
            of_logits = ctx.derivative(ctx.saved, grad)
        return of_logits, of_share, None, None


def by_hand(call: Call, derivative: Derivative = Saved.gradient) -> Tensor:
    """The right loss, whose gradient is what ``derivative`` makes of the upstream gradient."""
    rows = call.rows()
    bare = replace(rows, logits=rows.logits.detach(), target=rows.target.detach())
    loss: Tensor = _ByHand.apply(rows.logits, shares(rows), bare, derivative)  # type: ignore[no-untyped-call]
    return loss


class Replaced(torch.autograd.Function):
    """Other numbers in the place of a tensor; the gradient passes to the tensor."""

    @staticmethod
    def forward(_ctx: Any, _tensor: Tensor, values: Tensor) -> Tensor:
        """The values."""
        return values.clone()

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """All of it belongs to the tensor."""
        return grads[0], None


def replaced(tensor: Tensor, values: Tensor) -> Tensor:
    """``values`` as far as one sees, ``tensor`` as far as gradients go."""
    result: Tensor = Replaced.apply(tensor, values)  # type: ignore[no-untyped-call]
    return result


class _Altered(torch.autograd.Function):
    """A loss as it is, behind which something happens to what flows back."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, alter: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.alter = alter
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.alter(grads[0]), None


def altered(loss: Tensor, alter: Callable[[Tensor], Tensor]) -> Tensor:
    """``loss``, whose upstream gradient ``alter`` changes on its way to the inputs."""
    result: Tensor = _Altered.apply(loss, alter)  # type: ignore[no-untyped-call]
    return result
