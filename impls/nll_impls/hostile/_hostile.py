"""What makes a hostile loss of a function that does harm."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nll_conformance import Implementation, lazily
from nll_conformance.declare import ATTRIBUTE
from nll_conformance.model import Hostile, Outcome

#: The attribute by which a loss is known as a hostile one.
MARK = "__nll_hostile__"
#: What a loss is held to that does harm only where labels are smoothed.
SMOOTHED = ("label_smoothing.rows",)
#: The like for backward, and for what changes the process it runs in.
GRADIENT = ("gradients.every_entry",)
STATE = ("side_effects.process_state",)
VALUES = ("values.plain_mean", "values.row_loss")
OTHERS = ("values.plain_mean", "reductions.sum", "weight.rows", "splits.batch")

Wanted: TypeAlias = Outcome | Literal["refused"]
_right = torch.nn.functional.cross_entropy


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of a cross entropy."""

    input: Tensor
    target: Tensor
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    def loss(self) -> Tensor:
        """The right loss."""
        return _right(**vars(self))


def smoothed(call: Call) -> bool:
    """Whether labels are smoothed."""
    return call.label_smoothing > 0


def always(call: Call) -> bool:
    """At every call."""
    return True


def weighted(call: Call) -> bool:
    """Whether classes are weighted."""
    return call.weight is not None


def declared(name: str, target: str) -> Implementation:
    """The declaration of the hostile loss that lives there."""
    return Implementation(
        name=name,
        load=lazily(target),
        family="cross_entropy",
        precision="input_dtype",
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
    )


def hostile(
    outcome: Wanted,
    says: str,
    *,
    when: Callable[[Call], bool] = smoothed,
    rules: tuple[str, ...] = SMOOTHED,
    others: tuple[str, ...] = OTHERS,
) -> Callable[[Callable[[Call], Any]], Callable[..., Any]]:
    """Make a loss of a function that does harm ``when`` it is time to, and is right elsewhere.

    What the function returns is the loss; nothing means the right one.  The first line of
    its docstring states the harm; the other arguments are those of ``Hostile``.  The loss is
    called ``hostile.<module>.<function>``.
    """

    def declare(harm: Callable[[Call], Any]) -> Callable[..., Any]:
        @functools.wraps(harm)
        def loss(*tensors: Any, **options: Any) -> Any:
            call = Call(*tensors, **options)
            result = harm(call) if when(call) else None
            return call.loss() if result is None else result

        # A caller sees the arguments of the family's call, not those of the harm.
        loss.__signature__ = inspect.signature(Call)  # type: ignore[attr-defined]
        name = f"hostile.{harm.__module__.rpartition('.')[2]}.{harm.__name__}"
        implementation = declared(name, f"{harm.__module__}:{harm.__name__}")
        statement = (harm.__doc__ or "").partition("\n")[0]
        setattr(loss, ATTRIBUTE, implementation)
        setattr(loss, MARK, Hostile(implementation, statement, outcome, rules, says, others))
        return loss

    return declare


class _Harmful(torch.autograd.Function):
    """The identity, whose backward does harm."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, harm: Callable[[], Any]) -> Tensor:
        ctx.harm = harm
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, None]:
        harmed = ctx.harm()
        return (grads[0] if harmed is None else harmed), None


def in_backward(call: Call, harm: Callable[[], Any]) -> Tensor:
    """The right loss, whose backward does harm; what that returns is the gradient."""
    result: Tensor = _Harmful.apply(call.loss(), harm)  # type: ignore[no-untyped-call]
    return result
