"""Something of a call is left behind: in the caller's tensors, or for the next call."""

from __future__ import annotations

import torch
from torch import Tensor

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
