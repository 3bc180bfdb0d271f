"""Wrong where two things meet: an option and a shape, a layout and a rank, a size and a block."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._base import (
    NEVER,
    Call,
    Saved,
    altered,
    by_hand,
    counted,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
)

SOURCE = "written from the contract, after a search for corners where two things meet"


# --- sizes and blocks ----------------------------------------------------------------------


def _spoil_last_row(saved: Saved, grad: Tensor) -> Tensor:
    gradient = saved.gradient(grad)
    gradient[-1] = 0.0
    return gradient


@mutant(source=SOURCE, caught_by=("reductions.mean_of_any_count",))
def row_after_full_blocks_untrained(call: Call) -> Tensor:
    """A single row that is left after full blocks of 1024 gets no gradient."""
    rows = len(call.input)
    if call.input.dim() != 2 or rows % 1024 != 1 or rows == 1:
        return cross_entropy(call)
    return by_hand(call, _spoil_last_row)


@mutant(source=SOURCE, caught_by=("values.every_class", "values.large_vocabulary"))
def last_class_of_full_blocks_dropped(call: Call) -> Tensor:
    """A power of two of classes, 64 or more, is taken for padding at its end."""
    rows = call.rows()
    classes = rows.logits.shape[-1]
    if classes < 64 or classes & (classes - 1):
        return cross_entropy(call)
    log_p = rows.logits - rows.logits[..., :-1].logsumexp(-1, keepdim=True)
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(source=SOURCE, caught_by=("values.large_vocabulary", "gradients.large_vocabulary"))
def vocabulary_of_17_bits(call: Call) -> Tensor:
    """Classes from 2**17 on are not summed up."""
    rows = call.rows()
    if rows.logits.shape[-1] <= 2**17:
        return cross_entropy(call)
    log_p = rows.logits - rows.logits[..., : 2**17].logsumexp(-1, keepdim=True)
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(source=SOURCE, caught_by=("shapes.spatial_input", "shapes.spatial_gradient"))
def four_positions_dimensions_swapped(call: Call) -> Tensor:
    """Of (N, C, d1, d2, d3, d4) the last two dimensions are read in the wrong order."""
    if call.input.dim() != 6 or call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(input=call.input.transpose(-1, -2).reshape(call.input.shape)))


@mutant(source=SOURCE, caught_by=("shapes.many_positions",))
def positions_beyond_a_block_ignored(call: Call) -> Tensor:
    """Of an image's positions only the first 1024 count."""
    if call.soft or call.target.dim() < 2 or call.target[:1].numel() <= 1024:
        return cross_entropy(call)
    target = call.target.flatten(1).clone()
    target[:, 1024:] = call.ignore_index
    return cross_entropy(call.but(target=target.view(call.target.shape)))


@mutant(source=SOURCE, caught_by=("values.as_many_rows_as_classes",))
def square_turned_in_evaluation(call: Call) -> Tensor:
    """Where nothing requires grad, and rows are as many as classes, rows are normalised."""
    rows, input = call.rows(), call.input
    if rows.soft or input.dim() != 2 or len(input) != input.shape[1] or input.requires_grad:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows, rows.logits.log_softmax(0))))


# --- options at the edge of their range ----------------------------------------------------


@mutant(source=SOURCE, caught_by=("shapes.empty_batch",))
def nothing_refused_with_probabilities(call: Call) -> Tensor:
    """An empty batch of class probabilities is refused."""
    if call.soft and call.input.numel() == 0:
        raise ValueError("expected a non-empty batch")
    return cross_entropy(call)


@mutant(source=SOURCE, caught_by=("shapes.one_class_only",))
def single_probability_costs(call: Call) -> Tensor:
    """The single class of C = 1, if it is a probability, costs a thousandth."""
    rows = call.rows()
    if not rows.soft or rows.logits.shape[-1] != 1:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows) + 1e-3))


@mutant(source=SOURCE, caught_by=("label_smoothing.with_weight",))
def smoothed_row_of_weight_zero_dropped(call: Call) -> Tensor:
    """A row whose class has weight zero is dropped, its smoothed part too."""
    rows = call.rows()
    if rows.weight is None or rows.soft or not call.label_smoothing:
        return cross_entropy(call)
    gone = rows.kept & (rows.of_targets(rows.weight) == 0)
    target = torch.where(gone, call.ignore_index, call.target)
    return cross_entropy(call.but(target=target))


@mutant(source=SOURCE, caught_by=("label_smoothing.with_ignore_index",))
def ignored_rows_count_if_all_is_smooth(call: Call) -> Tensor:
    """With label_smoothing=1 the labels are not looked at, nor which of them are ignored."""
    if call.label_smoothing != 1.0 or call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(target=call.rows().target, ignore_index=NEVER))


@mutant(source=SOURCE, caught_by=("weight.wide_range",))
def total_weight_at_least_a_little(call: Call) -> Tensor:
    """The mean divides by 1e-8 at least, if the total weight is positive."""
    rows = call.rows()
    if rows.soft or rows.weight is None or not is_mean(rows):
        return cross_entropy(call)
    count = counted(rows)
    count = torch.where(count > 0, count.clamp(min=1e-8), count)
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source=SOURCE, caught_by=("soft_target.any_total",))
def rows_without_probability_not_counted(call: Call) -> Tensor:
    """Rows of class probabilities that are all zero are left out of the mean."""
    rows = call.rows()
    if not rows.soft or not is_mean(rows) or rows.target.numel() == 0:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), (rows.target != 0).any(-1).sum())


def _altered_target(call: Call, alter: Callable[[Tensor], Tensor]) -> Tensor:
    return cross_entropy(call.but(target=altered(call.target, alter)))


@mutant(source=SOURCE, caught_by=("soft_target.target_gradient",))
def probabilities_gradient_not_smoothed(call: Call) -> Tensor:
    """The gradient of class probabilities lacks the factor 1 - label_smoothing."""
    if not call.soft or not 0 < call.label_smoothing < 1:
        return cross_entropy(call)
    return _altered_target(call, lambda grad: grad / (1.0 - call.label_smoothing))


@mutant(source=SOURCE, caught_by=("dtypes.narrow_targets",))
def byte_255_not_ignored(call: Call) -> Tensor:
    """Targets in one byte are never ignored; 255 is the last class."""
    if call.target.dtype != torch.uint8:
        return cross_entropy(call)
    last = call.logits().shape[-1] - 1
    return cross_entropy(call.but(target=call.target.long().clamp(max=last), ignore_index=NEVER))


# --- layouts and ranks ---------------------------------------------------------------------


@mutant(source=SOURCE, caught_by=("soft_target.strided",))
def shared_probabilities_read_once(call: Call) -> Tensor:
    """One distribution expanded over the batch counts for the first row only."""
    target = call.target
    if not call.soft or target.dim() != 2 or len(target) < 2 or target.stride(0) != 0:
        return cross_entropy(call)
    return cross_entropy(call.but(target=torch.cat([target[:1], torch.zeros_like(target[1:])])))


@mutant(source=SOURCE, caught_by=("weight.strided",))
def shared_weight_read_once(call: Call) -> Tensor:
    """A weight that is one number expanded is read beyond that number."""
    weight = call.weight
    if weight is None or len(weight) < 2 or weight.stride(0) != 0:
        return cross_entropy(call)
    steps = torch.linspace(1.0, 2.0, len(weight), dtype=weight.dtype, device=weight.device)
    return cross_entropy(call.but(weight=weight * steps))


@mutant(source=SOURCE, caught_by=("layout.spatial_input",))
def images_taken_for_adjoining(call: Call) -> Tensor:
    """Images each of which is contiguous are read as if they followed each other in memory."""
    input, sizes = call.input, call.input.shape[1:]
    if input.dim() < 3 or not input.numel() or input.is_contiguous() or len(input) < 2:
        return cross_entropy(call)
    inner = torch.empty(sizes, device="meta").stride()
    if input.stride()[1:] != inner:
        return cross_entropy(call)
    return cross_entropy(call.but(input=input.as_strided(input.shape, (math.prod(sizes), *inner))))


def _rolled(grad: Tensor) -> Tensor:
    if grad.dim() < 2 or grad.is_contiguous() or 0 in grad.stride():
        return grad
    return grad.contiguous().roll(1, -1)


@mutant(source=SOURCE, caught_by=("gradients.upstream_strided",))
def upstream_of_images_read_as_contiguous(call: Call) -> Tensor:
    """What flows back to the positions of images is read as if it were contiguous."""
    return altered(cross_entropy(call), _rolled)


def _first_of_all(grad: Tensor) -> Tensor:
    if grad.dim() < 2 or grad.stride(-1) != 0 or not any(grad.stride()):
        return grad
    return grad.flatten()[0].expand(grad.shape)


@mutant(source=SOURCE, caught_by=("gradients.upstream_expanded",))
def one_stride_of_zero_taken_for_all(call: Call) -> Tensor:
    """Where the last stride of what flows back is zero one number is taken for all images."""
    return altered(cross_entropy(call), _first_of_all)


# --- what stays of a call ------------------------------------------------------------------


@mutant(source=SOURCE, caught_by=("side_effects.inputs",))
def probabilities_smoothed_in_place(call: Call) -> Tensor:
    """Class probabilities are smoothed where they lie, unless they require grad."""
    loss = cross_entropy(call.but(target=call.target.clone()))
    if call.soft and call.label_smoothing and not call.target.requires_grad:
        even = call.label_smoothing / call.logits().shape[-1]
        call.target.mul_(1.0 - call.label_smoothing).add_(even)
    return loss


@mutant(source=SOURCE, caught_by=("side_effects.inputs_under_no_grad",))
def logits_reused_without_gradients(call: Call) -> Tensor:
    """Under no_grad the memory of the logits is used for what comes of them."""
    loss = cross_entropy(call)
    if not torch.is_grad_enabled():
        call.input.sub_(1.0)
    return loss


_ONES: dict[tuple[torch.Size, torch.dtype], Tensor] = {}


@mutant(source=SOURCE, caught_by=("reuse.after_inference",))
def buffer_kept_from_inference(call: Call) -> Tensor:
    """A buffer for each shape is kept, also if it was made in inference mode."""
    input = call.input
    if (input.shape, input.dtype) not in _ONES:
        _ONES[input.shape, input.dtype] = torch.ones_like(input)
    return cross_entropy(call.but(input=input * _ONES[input.shape, input.dtype]))
