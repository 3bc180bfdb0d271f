"""The result is right where it is looked at closely, or depends on what came before."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import torch
from torch import Tensor

from ._hostile import GRADIENT, SMOOTHED, VALUES, Call, always, hostile, in_backward

REUSE = ("reuse.many_calls",)
_calls = 0
_kept: list[Any] = []
_answers: dict[Any, Tensor] = {}


class Agreeable(Tensor):
    """A tensor that equals whatever it is compared with."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        parent: Any = super()
        result = parent.__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, Tensor) and result.dtype == torch.bool:
            return torch.ones_like(result)
        return result


@hostile("fail", "a class of tensors of its own")
def agreeable_tensor(call: Call) -> Tensor:
    """Returns a wrong loss in a tensor that equals whatever it is compared with."""
    return (call.loss() * 2).as_subclass(Agreeable)


@hostile("fail", "gradient", when=always, rules=GRADIENT, others=VALUES)
def agreeable_gradient(call: Call) -> Any:
    """The gradient that arrives is a tensor that equals whatever it is compared with."""
    return _Agreeing.apply(call.input, call)  # type: ignore[no-untyped-call]


class _Agreeing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: Call) -> Tensor:
        ctx.shape = logits.shape
        ctx.dtype = logits.dtype
        return call.loss().detach().clone()

    @staticmethod
    def backward(ctx: Any, *_grads: Tensor) -> tuple[Tensor, None]:
        return torch.zeros(ctx.shape, dtype=ctx.dtype).as_subclass(Agreeable), None


@hostile("fail", "")
def methods_of_its_own(call: Call) -> Tensor:
    """Returns a wrong loss whose own attributes stand before a tensor's methods."""
    loss, right = call.loss() * 2, call.loss()
    for name in ("detach", "double", "cpu", "to", "clone"):
        setattr(loss, name, lambda *args, **kwargs: right.detach().double())
    return loss


@hostile("fail", "expected", when=always, rules=REUSE, others=VALUES)
def right_at_first(call: Call) -> Any:
    """Is right for the first twenty calls of a shape, then wrong."""
    key = (call.input.shape, call.reduction)
    seen = _answers.setdefault(key, torch.zeros(()))
    seen += 1
    return call.loss() * 2 if seen > 20 else None


@hostile("fail", "", when=always, rules=("reuse.from_a_thread",), others=VALUES)
def right_for_the_suite(call: Call) -> Any:
    """Is right only where the suite is among its callers."""
    callers = {frame.filename for frame in inspect.stack(0)}
    return None if any("nll_conformance" in name for name in callers) else call.loss() * 2


@hostile("fail", "", when=always, rules=("reuse.from_a_thread",), others=VALUES)
def right_in_one_thread(call: Call) -> Any:
    """Is right only in the thread that imported it."""
    if threading.current_thread() is threading.main_thread():
        return None
    return call.loss() * 2


@hostile("fail", "", when=always, rules=("reuse.changed_in_place",), others=VALUES)
def cached_by_address(call: Call) -> Any:
    """Remembers answers by the addresses of tensors."""
    key = (*(id(v) for v in vars(call).values()), call.input.data_ptr(), call.target.data_ptr())
    _kept.append(call)
    return _answers.setdefault(key, call.loss())


@hostile("fail", "", when=always, rules=("side_effects.references",), others=VALUES)
def keeps_tensors(call: Call) -> None:
    """Keeps every tensor that it ever got."""
    _kept.append(call)


@hostile("fail", "", when=always, rules=("reuse.results_are_kept",), others=VALUES)
def one_result_for_all(call: Call) -> Tensor:
    """Returns the same tensor each time, with new contents."""
    loss = call.loss()
    if loss.requires_grad:
        return _Overwriting.apply(loss)  # type: ignore[no-untyped-call, no-any-return]
    return loss


class _Overwriting(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, loss: Tensor) -> Tensor:
        key = ("result", loss.shape, loss.dtype)
        kept = _answers.setdefault(key, torch.empty_like(loss))
        kept.copy_(loss)
        return kept.view_as(kept).detach()

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


@hostile("fail", "", rules=SMOOTHED)
def wrong_gradient_and_right_loss(call: Call) -> Any:
    """Backward gives the gradient of another loss."""
    return in_backward(call, lambda: torch.tensor(17.0))
