"""A right linear cross entropy in steps, each of which a mutant may replace by a wrong one.

``(n, h)`` are the hidden states, ``(c, h)`` the head, ``(c,)`` its bias.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses.rows import Rows, widened
from . import _mutant
from ._base import kept, reduced, row_losses


@dataclass(frozen=True, eq=False)
class Linear:
    """The arguments of the call."""

    input: Tensor
    linear_weight: Tensor
    target: Tensor
    _: KW_ONLY
    linear_bias: Tensor | None = None
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    def but(self, **changes: Any) -> Self:
        """The same call with other arguments."""
        return replace(self, **changes)

    @property
    def soft(self) -> bool:
        """Whether the target holds class probabilities."""
        return self.target.is_floating_point()

    @functools.cached_property
    def shell(self) -> Rows:
        """The call without its logits: what is kept, weights, options; refuses nonsense."""
        classes, size = self.linear_weight.shape
        if self.input.shape[-1] != size:
            raise ValueError(f"hidden states of {self.input.shape[-1]} for a head of {size}")
        if self.linear_bias is not None and self.linear_bias.shape != (classes,):
            raise ValueError(f"a bias of {tuple(self.linear_bias.shape)} for {classes} classes")
        outline = self.input.new_zeros(()).expand(*self.input.shape[:-1], classes)
        options = (self.weight, self.ignore_index, self.reduction, self.label_smoothing)
        return Rows.of(outline, self.target, *options).wide()

    @functools.cached_property
    def operands(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states, blank in ignored rows, head and bias, in at least float32."""
        hidden = torch.where(self.shell.kept.unsqueeze(-1), self.input, 0.0)
        dtype = torch.promote_types(widened(hidden).dtype, widened(self.linear_weight).dtype)
        bias = self.linear_bias
        return (
            hidden.to(dtype),
            self.linear_weight.to(dtype),
            None if bias is None else bias.to(dtype),
        )

    def product(self) -> Tensor:
        """(n, c): the logits without the bias."""
        hidden, head, _ = self.operands
        return multiplied(hidden, head)

    def logits(self) -> Tensor:
        """(n, c): the logits."""
        bias, product = self.operands[2], self.product()
        return product if bias is None else product + bias

    def rows(self, logits: Tensor | None = None) -> Rows:
        """The call as rows of these logits, ignored ones blanked."""
        logits = self.logits() if logits is None else logits
        return replace(self.shell, logits=torch.where(self.shell.kept.unsqueeze(-1), logits, 0.0))


linear_mutant = functools.partial(_mutant.mutant, family="linear_cross_entropy", call=Linear)


def multiplied(hidden: Tensor, head: Tensor) -> Tensor:
    """(n, c): hidden states times the head, not in fewer bits under autocast."""
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden @ head.t()


def linear(call: Linear, logits: Tensor | None = None) -> Tensor:
    """The right loss, or that of other logits."""
    rows = call.rows(logits)
    return reduced(rows, kept(rows, row_losses(rows)))


#: From the gradient of the logits, hidden states and head: one of the two gradients.
Pull = Callable[[Tensor, Tensor, Tensor], Tensor]


def to_hidden(grad: Tensor, hidden: Tensor, head: Tensor) -> Tensor:
    """(n, h): what arrives at the hidden states."""
    return grad @ head


def to_head(grad: Tensor, hidden: Tensor, head: Tensor) -> Tensor:
    """(c, h): what arrives at the head."""
    return grad.t() @ hidden


class _ByHand(torch.autograd.Function):
    """The product, each of whose gradients is computed by a function given."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, first: Pull, second: Pull) -> Tensor:
        ctx.save_for_backward(hidden, head)
        ctx.pulls = first, second
        return multiplied(hidden, head)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
        pulled = [
            pull(*rows, head) if need else None
            for pull, need in zip(ctx.pulls, ctx.needs_input_grad[:2], strict=True)
        ]
        if pulled[0] is not None:
            pulled[0] = pulled[0].reshape(hidden.shape)
        return *pulled, None, None


def by_hand(call: Linear, hidden: Pull = to_hidden, head: Pull = to_head) -> Tensor:
    """The right loss, whose product has these gradients."""
    states, matrix, bias = call.operands
    product: Tensor = _ByHand.apply(states, matrix, hidden, head)  # type: ignore[no-untyped-call]
    return linear(call, product if bias is None else product + bias)
