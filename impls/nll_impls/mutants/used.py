"""Right by itself and wrong in use, beside one option alone: backward again, buffers, dtypes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ._base import Call, Saved, altered, by_hand, counted, cross_entropy, mutant

SOURCE = "a path of its own for an option, held against one call alone"


def _smoothed(call: Call) -> bool:
    return call.label_smoothing > 0 and not call.soft


def _ignores(call: Call) -> bool:
    return not call.soft and bool((call.target == call.ignore_index).any())


def _scaled_where_it_lies(saved: Saved, grad: Tensor) -> Tensor:
    if saved.stored is None:
        saved.stored = saved.inner()
    saved.stored *= saved.upstream(grad).unsqueeze(-1)
    return saved.stored.clone()


@mutant(source=SOURCE, caught_by=("autograd.backward_twice",))
def weighted_gradient_scaled_where_it_lies(call: Call) -> Tensor:
    """With weights a second backward scales what the first has scaled."""
    if call.weight is None:
        return cross_entropy(call)
    return by_hand(call, _scaled_where_it_lies)


@mutant(source=SOURCE, caught_by=("autograd.grad_changed_in_place", "autograd.backward_twice"))
def smoothed_gradient_handed_out(call: Call) -> Tensor:
    """With smoothing the gradient handed out is what the next backward reads."""
    if not _smoothed(call):
        return cross_entropy(call)

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        if saved.stored is None:
            saved.stored = saved.inner()
            scaled = saved.stored.mul_(saved.upstream(grad).unsqueeze(-1))
            return scaled if call.input.dtype == torch.float32 else scaled.clone()
        return saved.stored

    return by_hand(call, derivative)


_BUFFERS: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


@mutant(source=SOURCE, caught_by=("autograd.gradient_is_kept", "reuse.results_are_kept"))
def buffer_for_gradients_beside_ignored_rows(call: Call) -> Tensor:
    """Where rows are ignored, gradients of a shape share one buffer."""
    if not _ignores(call):
        return cross_entropy(call)

    def shared(grad: Tensor) -> Tensor:
        key = (grad.shape, grad.dtype)
        return _BUFFERS.setdefault(key, torch.empty_like(grad)).copy_(grad)

    return cross_entropy(call.but(input=altered(call.input, shared)))


_COUNTS: list[Tensor] = []


def _by_the_last_count(saved: Saved, grad: Tensor) -> Tensor:
    if saved.count is None:
        return saved.gradient(grad)
    return replace(saved, count=_COUNTS[-1]).gradient(grad)


@mutant(source=SOURCE, caught_by=("reuse.interleaved",))
def weights_of_the_last_forward(call: Call) -> Tensor:
    """With weights the gradient of a mean is divided by what the last forward counted."""
    if call.weight is None or call.soft:
        return cross_entropy(call)
    _COUNTS[:] = [counted(call.rows()).detach()]
    return by_hand(call, _by_the_last_count)


@mutant(source=SOURCE, caught_by=("side_effects.upstream",))
def weights_multiplied_into_upstream(call: Call) -> Tensor:
    """Unreduced, with weights, they are multiplied into the tensor that flows back."""
    loss = cross_entropy(call)
    if call.weight is None or call.reduction != "none" or loss.dim() == 0:
        return loss

    def spoil(grad: Tensor) -> Tensor:
        own = grad.clone()
        if 0 not in grad.stride():
            grad.mul_(0.5)
        return own

    return altered(loss, spoil)


@mutant(source="type promotion by a float32 constant", caught_by=("dtypes.output",))
def smoothed_loss_in_float32(call: Call) -> Tensor:
    """With smoothing the loss of 16-bit logits comes in float32."""
    loss = cross_entropy(call)
    return loss.float() if _smoothed(call) and loss.dtype != torch.float64 else loss


@mutant(source="a product that autocast rounds", caught_by=("dtypes.autocast_in_float32",))
def smoothing_by_a_product(call: Call) -> Tensor:
    """Smoothing is a matrix product, which autocast rounds to 16 bits."""
    if not _smoothed(call) or not torch.is_autocast_enabled("cpu") or call.input.dim() != 2:
        return cross_entropy(call)
    eye = torch.eye(call.input.shape[1], dtype=call.input.dtype)
    rounded = call.input @ eye
    return cross_entropy(call.but(input=rounded.to(call.input.dtype)))


def _cut(grad: Tensor) -> Tensor:
    return grad.detach() + 0.0 * grad


@mutant(
    source=SOURCE,
    caught_by=(
        "gradients.second_order",
        "gradients.second_order_squared",
        "gradients.second_order_penalty",
    ),
)
def flat_beside_probabilities(call: Call) -> Tensor:
    """Under class probabilities second derivatives are zero."""
    if not call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(input=altered(call.input, _cut)))
