"""Buffers, caches and settings that only some calls meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._base import Call, altered, cross_entropy, kept, mutant, reduced, row_losses

_BUFFERS: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


def _buffered(tensor: Tensor) -> Tensor:
    """The same numbers in the memory that the last tensor of its shape had."""
    key = (tensor.shape, tensor.dtype)
    buffer = _BUFFERS.get(key)
    if buffer is None or len(_BUFFERS) > 8:
        _BUFFERS.clear()
        with torch.inference_mode(False):
            buffer = _BUFFERS[key] = torch.empty_like(tensor)
    return buffer.copy_(tensor)


@mutant(source="workspaces of inference servers", caught_by=("reuse.results_are_kept",))
def losses_in_a_buffer_without_gradients(call: Call) -> Tensor:
    """Where nothing requires grad, the row losses lie in a buffer for their shape."""
    loss = cross_entropy(call)
    if loss.requires_grad or loss.dim() == 0 or torch.is_inference_mode_enabled():
        return loss
    return _buffered(loss)


@mutant(source="workspaces of fused losses", caught_by=("autograd.gradient_is_kept",))
def gradient_in_a_buffer(call: Call) -> Tensor:
    """The gradient lies in a buffer for its shape, which the next one of that shape overwrites."""
    if call.input.dim() != 2 or call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(input=altered(call.input, _buffered)))


class _Saved(torch.autograd.Function):
    """A loss whose gradient was computed with it and is handed out as it is."""

    @staticmethod
    def forward(ctx: Any, _input: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad = grads[0]
        scaled = ctx.gradient if bool(grad == 1) else ctx.gradient * grad
        return scaled.to(ctx.gradient.dtype), None, None


@mutant(source="fused losses: gradient in forward", caught_by=("autograd.grad_changed_in_place",))
def saved_gradient_handed_out(call: Call) -> Tensor:
    """An upstream gradient of 1 gets the tensor that was saved in forward, and not a copy."""
    input = call.input
    fit = input.dim() == 2 and not call.soft and input.requires_grad and torch.is_grad_enabled()
    if call.reduction == "none" or not fit or len(input) == 0:
        return cross_entropy(call)
    leaf = input.detach().requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy(call.but(input=leaf))
        (gradient,) = torch.autograd.grad(loss, leaf)
    # torch leaves ``apply`` untyped, here and below.
    result: Tensor = _Saved.apply(input, loss.detach(), gradient)  # type: ignore[no-untyped-call]
    return result


class _Last:
    """What was made of the last tensor, by its address."""

    def __init__(self) -> None:
        self.key: tuple[Any, ...] = ()
        self.made: Tensor | None = None

    def of(self, tensor: Tensor, *more: Any, make: Any) -> Tensor:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, *more)
        if self.made is None or key != self.key:
            self.key, self.made = key, make()
        return self.made


_WEIGHT, _COUNT = _Last(), _Last()


@mutant(source="weights moved to a device once", caught_by=("reuse.changed_in_place",))
def weight_cached_by_address(call: Call) -> Tensor:
    """A copy of the weight is used for as long as the weight lies where it did."""
    weight = call.weight
    if weight is None or torch.is_inference_mode_enabled():
        return cross_entropy(call)
    known = _WEIGHT.of(weight, make=lambda: weight.detach().clone())
    return cross_entropy(call.but(weight=known))


@mutant(source="counts of gradient accumulation", caught_by=("reuse.changed_in_place",))
def count_cached_by_address(call: Call) -> Tensor:
    """The number of rows that count is known for as long as the targets lie where they did."""
    rows = call.rows()
    if rows.soft or call.weight is not None or torch.is_inference_mode_enabled():
        return cross_entropy(call)
    count = _COUNT.of(call.target, call.ignore_index, make=rows.kept.sum)
    return reduced(rows, kept(rows, row_losses(rows)), count)


class _ByReference(torch.autograd.Function):
    """Keeps its input past autograd, which would have looked at its version."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, call: Call) -> Tensor:
        ctx.input, ctx.call = input.detach(), call
        return cross_entropy(call.but(input=ctx.input))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        leaf = ctx.input.detach().requires_grad_()
        with torch.enable_grad():
            loss = cross_entropy(ctx.call.but(input=leaf))
        return torch.autograd.grad(loss, leaf, grads[0])[0], None


@mutant(
    source="autograd functions that set attributes of ctx",
    caught_by=("autograd.input_changed_before_backward",),
)
def logits_kept_by_reference(call: Call) -> Tensor:
    """Backward computes from the logits as they are then, whatever has become of them."""
    if call.soft or call.weight is not None or not torch.is_grad_enabled():
        return cross_entropy(call)
    bare = call.but(target=call.target.clone())
    result: Tensor = _ByReference.apply(call.input, bare)  # type: ignore[no-untyped-call]
    return result


@mutant(
    source="another kernel that is deterministic",
    caught_by=("determinism.deterministic_algorithms",),
)
def deterministic_without_weight(call: Call) -> Tensor:
    """Where deterministic algorithms are asked for the weight is left out."""
    fixed = torch.are_deterministic_algorithms_enabled()
    return cross_entropy(call.but(weight=None) if fixed else call)


@mutant(source="dropout-like smoothing", caught_by=("side_effects.process_state",))
def smoothing_draws_a_number(call: Call) -> Tensor:
    """With label smoothing a random number is drawn, and not used."""
    if call.label_smoothing:
        torch.rand(1)
    return cross_entropy(call)


@mutant(source="recipes for saliency maps", caught_by=("side_effects.inputs",))
def logits_made_to_require_grad(call: Call) -> Tensor:
    """The caller's logits require grad after the call, unless they did before."""
    loss = cross_entropy(call)
    if not call.input.requires_grad and not call.input.is_inference() and loss.dim() == 0:
        call.input.requires_grad_()
    return loss


@mutant(source="debugging left behind", caught_by=("autograd.through_a_graph",))
def gradient_retained(call: Call) -> Tensor:
    """Logits that are a result of others retain their gradient from then on."""
    if call.input.requires_grad and not call.input.is_leaf:
        call.input.retain_grad()
    return cross_entropy(call)


@mutant(source="torch.arange without a device", caught_by=("transforms.default_device",))
def index_on_the_default_device(call: Call) -> Tensor:
    """A sum adds a zero that lies on the process's default device."""
    loss = cross_entropy(call)
    return loss + 0.0 * torch.zeros(1)[0] if call.reduction == "sum" else loss
