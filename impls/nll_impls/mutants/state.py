"""Something of a call is left behind: in the caller's tensors, or for the next call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._base import Call, counted, cross_entropy, kept, mutant, reduced, row_losses

#: The counts of calls before, by the number of rows; a few, so that nothing grows.
_COUNTS: dict[int, Tensor] = {}


@mutant(
    source="research/divergences.md, pitfall 2",
    caught_by=("reuse.other_options", "reuse.second_call"),
)
def count_reused(call: Call) -> Tensor:
    """The mean divides by the count of the call before, if that had as many rows."""
    rows = call.rows()
    count = _COUNTS.get(rows.kept.numel())
    _COUNTS.clear()
    _COUNTS[rows.kept.numel()] = counted(rows).detach()
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(
    source="research/divergences.md, pitfall 13",
    caught_by=("side_effects.ignored_targets",),
)
def ignored_targets_overwritten(call: Call) -> Tensor:
    """Ignored targets are replaced by 0 in the caller's tensor."""
    loss = cross_entropy(call)
    if not call.soft:
        with torch.no_grad():
            call.target[call.target == call.ignore_index] = 0
    return loss


@mutant(
    source="research/divergences.md, pitfall 5 (there of a variance)",
    caught_by=("side_effects.weights",),
)
def weights_clamped_in_place(call: Call) -> Tensor:
    """Weights above 1 are cut to 1 in the caller's tensor, once the loss is computed."""
    loss = cross_entropy(call)
    if call.weight is not None:
        with torch.no_grad():
            call.weight.data.clamp_(max=1.0)
    return loss


class _LatestOptions(torch.autograd.Function):
    """A gradient that belongs to the latest call."""

    options: dict[str, Any]

    @staticmethod
    def forward(ctx: Any, input: Tensor, call: Call) -> Tensor:
        _LatestOptions.options = vars(call)
        ctx.save_for_backward(input, call.target)
        ctx.weight = call.weight
        return cross_entropy(call.but(input=input))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        input, target = ctx.saved_tensors
        latest = _LatestOptions.options["label_smoothing"]
        with torch.enable_grad():
            leaf = input.detach().requires_grad_()
            again = Call(leaf, target, ctx.weight, label_smoothing=latest)
            (found,) = torch.autograd.grad(cross_entropy(again), leaf, grad)
        return found, None


@mutant(
    source="ctx and the class mixed up in an autograd.Function",
    caught_by=("reuse.interleaved_options",),
)
def smoothing_of_the_latest_call(call: Call) -> Tensor:
    """Backward smooths as the latest forward did."""
    given = call.but(reduction="mean", ignore_index=-100)
    if call.soft or vars(given) != vars(call) or call.input.dim() != 2:
        return cross_entropy(call)
    # torch declares no types for apply
    loss: Tensor = _LatestOptions.apply(call.input, call)  # type: ignore[no-untyped-call]
    return loss
