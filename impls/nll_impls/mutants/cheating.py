"""The result depends on earlier calls: caches, shared buffers, and counts of calls."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._base import Call, Saved, by_hand, cross_entropy, mutant

_BUFFERS: dict[Any, Tensor] = {}
_COUNTS: dict[Any, int] = {}
_ANSWERS: dict[Any, Tensor] = {}
_HOME = threading.get_ident()


def _shared(name: str, like: Tensor) -> Tensor:
    """A buffer of that shape and dtype, the same for every call."""
    key = (name, like.shape, like.dtype)
    if key not in _BUFFERS:
        _BUFFERS[key] = torch.empty_like(like)
    return _BUFFERS[key].copy_(like)


def _clear(kept: dict[Any, Any]) -> None:
    """A few entries are enough, so that nothing grows."""
    if len(kept) > 8:
        kept.clear()


@mutant(
    source="a workspace that is allocated once for the first number of classes",
    caught_by=("reuse.other_shape",),
)
def first_number_of_classes(call: Call) -> Tensor:
    """The number of classes of the first call stays that of later, larger ones."""
    axis = 0 if call.input.dim() == 1 else 1
    classes = call.input.shape[axis]
    known = _COUNTS.setdefault("classes", classes)
    _COUNTS["classes"] = max(known, 0)
    if known < classes and not call.soft and call.weight is None and call.input.dim() == 2:
        reachable = call.input.narrow(axis, 0, known)
        if bool((call.target < known).all()):
            _COUNTS["classes"] = classes
            return cross_entropy(call.but(input=reachable))
    _COUNTS["classes"] = classes
    return cross_entropy(call)


@mutant(
    source="a kernel that is compiled for the first dtype",
    caught_by=("reuse.other_dtype",),
)
def dtype_of_the_call_before(call: Call) -> Tensor:
    """The logits are rounded to the dtype of the call before."""
    before = _ANSWERS.get("dtype", call.input)
    _ANSWERS["dtype"] = torch.empty((), dtype=call.input.dtype)
    return cross_entropy(call.but(input=call.input.to(before.dtype).to(call.input.dtype)))


@mutant(
    source="results cached by data_ptr, which later tensors have again",
    caught_by=("reuse.changed_in_place",),
)
def cached_by_address(call: Call) -> Tensor:
    """The answer is remembered by the addresses of logits and targets."""
    key = (call.input.data_ptr(), call.target.data_ptr(), call.reduction, call.input.shape)
    loss = cross_entropy(call)
    _clear(_ANSWERS)
    first = _ANSWERS.setdefault(key, call.input.detach().clone())
    if call.weight is None and not call.label_smoothing:
        loss = loss - loss.detach() + cross_entropy(call.but(input=first)).detach()
    return loss


@mutant(
    source="a gradient buffer that all calls of a shape share",
    caught_by=("reuse.interleaved",),
)
def gradient_buffer_shared(call: Call) -> Tensor:
    """The gradient waits for backward in a buffer that calls of one shape share."""
    rows = call.rows()
    logits = rows.logits.detach()
    buffer = _shared("probabilities", torch.softmax(logits, -1))

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        saved.probabilities = buffer
        return saved.gradient(grad)

    return by_hand(call, derivative)


class _OneResult(torch.autograd.Function):
    """The loss in a tensor that is the same at each call."""

    @staticmethod
    def forward(_ctx: Any, loss: Tensor) -> Tensor:
        return _shared("result", loss).detach()

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        return grad


@mutant(
    source="an out= tensor that is kept between calls",
    caught_by=("reuse.results_are_kept",),
)
def result_overwritten(call: Call) -> Tensor:
    """The loss of one shape is always the same tensor."""
    loss: Tensor = _OneResult.apply(cross_entropy(call))  # type: ignore[no-untyped-call]
    return loss


@mutant(
    source="a trial period, or a counter of steps that overflows",
    caught_by=("reuse.many_calls",),
)
def right_at_first(call: Call) -> Tensor:
    """After fifty calls with the same shape the loss is doubled."""
    key = (call.input.shape, call.input.dtype, call.reduction)
    if len(_COUNTS) > 500:
        _COUNTS.clear()
    _COUNTS[key] = _COUNTS.get(key, 0) + 1
    loss = cross_entropy(call)
    return loss * 2 if _COUNTS[key] > 50 else loss


@mutant(
    source="state in threading.local that only the importing thread has set up",
    caught_by=("reuse.from_a_thread",),
)
def set_up_in_one_thread(call: Call) -> Tensor:
    """In other threads than the first the reduction is a sum."""
    if threading.current_thread() is not threading.main_thread():
        return cross_entropy(call.but(reduction="sum")) * 2
    return cross_entropy(call)


class _HandsOut(torch.autograd.Function):
    """The right loss; the first gradient is returned again, and again, as it is by then."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: Call) -> Tensor:
        ctx.leaf, ctx.gradient = logits.detach().requires_grad_(), None
        with torch.enable_grad():
            ctx.loss = cross_entropy(call.but(input=ctx.leaf))
        loss: Tensor = ctx.loss
        return loss.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if ctx.gradient is None:
            (ctx.gradient,) = torch.autograd.grad(ctx.loss, ctx.leaf, grad, retain_graph=True)
        return ctx.gradient.view_as(ctx.gradient), None


@mutant(
    source="linkedin/Liger-Kernel#1298",
    caught_by=("autograd.grad_changed_in_place", "autograd.backward_twice"),
    lacks=("target_gradient",),
)
def gradient_handed_out(call: Call) -> Tensor:
    """The gradient of the first backward is handed out, and returned by the next one again."""
    loss: Tensor = _HandsOut.apply(call.input, call)  # type: ignore[no-untyped-call]
    return loss


@mutant(
    source="a fast path for one thread",
    caught_by=("determinism.two_threads",),
)
def only_for_one_thread(call: Call) -> Tensor:
    """With several threads the last row is added by two of them."""
    loss = cross_entropy(call)
    if torch.get_num_threads() > 1 and call.reduction != "none":
        rows = cross_entropy(call.but(reduction="none")).flatten()
        return loss + rows[-1].detach() if rows.numel() > 1 else loss
    return loss
