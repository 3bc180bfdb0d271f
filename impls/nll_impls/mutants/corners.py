"""Corners of options: ignored rows, weights, masks, single samples, single classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._base import (
    Call,
    counted,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
)
from ._memory import read_as_contiguous
from .masking import MaskedCall, masked_mutant

FORMULA = "implementations of the formula by hand"


# --- ignored rows ---------------------------------------------------------------------------


@mutant(source="kernels with int32 arguments", caught_by=("ignore_index.beyond_32_bits",))
def ignore_index_in_32_bits(call: Call) -> Tensor:
    """The ignore index is narrowed to 32 bits; targets are not."""
    wrapped = (call.ignore_index + 2**31) % 2**32 - 2**31
    return cross_entropy(call if call.soft else call.but(ignore_index=wrapped))


@mutant(source=FORMULA, caught_by=("ignore_index.given_but_rare",))
def one_row_ignored_at_least(call: Call) -> Tensor:
    """Where an ignore index other than -100 is given, the mean counts a row less if none has it."""
    rows = call.rows()
    if rows.soft or call.ignore_index == -100 or not bool(rows.kept.all()):
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), counted(rows) - 1)


@mutant(source="counts taken out with .item()", caught_by=("ignore_index.all_ignored_mean",))
def all_ignored_refused(call: Call) -> Tensor:
    """With every row ignored the mean raises ZeroDivisionError."""
    rows = call.rows()
    if is_mean(rows) and rows.kept.numel() and not bool(rows.kept.any()):
        raise ZeroDivisionError("division by zero")
    return cross_entropy(call)


@mutant(source="pytorch/pytorch#69511 (review)", caught_by=("ignore_index.with_weight",))
def ignored_rows_bring_weight(call: Call) -> Tensor:
    """Ignored rows bring the weight of class 0 into the mean's denominator."""
    rows = call.rows()
    if rows.weight is None or rows.soft:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), rows.of_targets(rows.weight).sum())


@mutant(
    source="pytorch/executorch#20090 (of a softmax)",
    caught_by=("ignore_index.thousands", "reductions.many"),
)
def count_in_16_bits(call: Call) -> Tensor:
    """Counted rows are summed up in bfloat16, which has not every integer above 256."""
    rows = call.rows()
    if not is_mean(rows) or rows.soft or rows.weight is not None or bool(rows.kept.all()):
        return cross_entropy(call)
    count = rows.kept.sum().bfloat16().to(rows.logits.dtype)
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source=FORMULA, caught_by=("ignore_index.unbatched_row",))
def single_sample_never_ignored(call: Call) -> Tensor:
    """A single sample is not compared with the ignore index, and scored as class 0."""
    if call.input.dim() > 1 or call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(target=call.rows().target, ignore_index=-(2**62)))


# --- weights --------------------------------------------------------------------------------


@mutant(source="fla-org/flash-linear-attention@0fd3c681", caught_by=("weight.strided",))
def weight_read_as_contiguous(call: Call) -> Tensor:
    """The weight is read as if it were contiguous."""
    weight = None if call.weight is None else read_as_contiguous(call.weight)
    return cross_entropy(call.but(weight=weight))


@mutant(source=FORMULA, caught_by=("weight.wide_range",))
def weight_limited(call: Call) -> Tensor:
    """Weights are limited to [1/8, 8], if they are not zero or negative."""
    weight = call.weight
    if weight is not None:
        weight = torch.where(weight > 0, weight.clamp(1 / 8, 8.0), weight)
    return cross_entropy(call.but(weight=weight))


@mutant(source=FORMULA, caught_by=("weight.unbatched_row",))
def single_sample_keeps_its_weight(call: Call) -> Tensor:
    """The mean of a single sample is not divided by its weight."""
    rows = call.rows()
    if call.input.dim() > 1 or rows.soft or not bool(rows.kept):
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), 1)


@mutant(source=FORMULA, caught_by=("dtypes.weight_of_other_dtype",))
def weight_read_with_the_width_of_the_logits(call: Call) -> Tensor:
    """A weight of a wider dtype is read as the logits': halves of numbers."""
    weight, dtype = call.weight, call.input.dtype
    if weight is not None and weight.dtype.itemsize > dtype.itemsize:
        weight = weight.contiguous().view(dtype)[: len(weight)]
    return cross_entropy(call.but(weight=weight))


# --- masks ----------------------------------------------------------------------------------


def _masked(call: MaskedCall) -> Tensor:
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows)))


@masked_mutant(source=FORMULA, caught_by=("mask.with_weight",))
def masked_mean_divides_by_rows(call: MaskedCall) -> Tensor:
    """With a mask the mean divides by the rows that count, whatever their weights."""
    rows = call.rows()
    if call.mask is None or rows.soft:
        return _masked(call)
    return reduced(rows, kept(rows, row_losses(rows)), rows.kept.sum())


@masked_mutant(source=FORMULA, caught_by=("mask.with_ignore_index",))
def mask_shadows_ignore_index(call: MaskedCall) -> Tensor:
    """Where a mask is given, ignored targets are scored as class 0."""
    if call.mask is None or call.soft:
        return _masked(call)
    hit = call.target == call.ignore_index
    return _masked(replace(call, target=torch.where(hit, 0, call.target), ignore_index=-(2**62)))


@masked_mutant(source="Python: `if mask.any()`", caught_by=("mask.nothing_counts",))
def empty_mask_taken_for_none(call: MaskedCall) -> Tensor:
    """A mask under which nothing counts is taken for no mask."""
    mask = call.mask if call.mask is not None and bool(call.mask.any()) else None
    return _masked(replace(call, mask=mask))


@masked_mutant(source="fla-org/flash-linear-attention@0fd3c681", caught_by=("layout.mask",))
def mask_read_as_contiguous(call: MaskedCall) -> Tensor:
    """The mask is read as if it were contiguous."""
    mask = None if call.mask is None else read_as_contiguous(call.mask)
    return _masked(replace(call, mask=mask))


# --- shapes and layouts ---------------------------------------------------------------------


@mutant(source="fla-org/flash-linear-attention@0fd3c681", caught_by=("layout.target",))
def target_read_as_contiguous(call: Call) -> Tensor:
    """Class indices are read as if they were contiguous."""
    target = call.target if call.soft else read_as_contiguous(call.target)
    return cross_entropy(call.but(target=target))


@mutant(source=FORMULA, caught_by=("shapes.unbatched_sample",))
def single_sample_gets_a_dimension(call: Call) -> Tensor:
    """The unreduced loss of a single sample has shape (1,)."""
    loss = cross_entropy(call)
    return loss.unsqueeze(0) if call.input.dim() == 1 and call.reduction == "none" else loss


@mutant(
    source="research/divergences.md, pitfall 8",
    caught_by=("values.as_many_rows_as_classes", "shapes.square_input"),
)
def softmax_over_rows_if_square(call: Call) -> Tensor:
    """As many rows as classes: the softmax runs over the rows."""
    rows = call.rows()
    if call.soft or call.input.dim() != 2 or call.input.shape[0] != call.input.shape[1]:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows, rows.logits.log_softmax(0))))


@mutant(
    source="libraries where one column is a binary logit",
    caught_by=("shapes.one_class_only", "label_smoothing.one_class_only"),
)
def one_class_is_binary(call: Call) -> Tensor:
    """With a single class its logit goes through a sigmoid."""
    rows = call.rows()
    if rows.soft or rows.logits.shape[-1] != 1 or call.label_smoothing:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows, -torch.log1p((-rows.logits).exp()))))


# --- smoothing ------------------------------------------------------------------------------


@mutant(source="Megatron-LM: eps C / (C - 1)", caught_by=("label_smoothing.one_class_only",))
def mass_of_others_by_division(call: Call) -> Tensor:
    """What other classes get is eps (C - 1) / C, divided by C - 1: 0/0 for a single class."""
    rows = call.rows()
    if not call.label_smoothing or rows.logits.shape[-1] != 1 or rows.soft:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows) * math.nan))


@mutant(source=FORMULA, caught_by=("label_smoothing.unbatched_row",))
def single_sample_not_smoothed(call: Call) -> Tensor:
    """A single sample is not smoothed."""
    unbatched = call.input.dim() == 1
    return cross_entropy(call.but(label_smoothing=0.0) if unbatched else call)


@mutant(source=FORMULA, caught_by=("label_smoothing.extreme_logits",))
def smoothing_term_underflows(call: Call) -> Tensor:
    """The smoothing term takes log(softmax + 1e-12): far classes cost 27.6 at most."""
    rows = call.rows()
    if not call.label_smoothing or rows.soft:
        return cross_entropy(call)
    log_p = rows.logits.log_softmax(-1)
    floored = log_p.clamp(min=math.log(1e-12))
    even = call.label_smoothing / rows.logits.shape[-1]
    weight = 1.0 if rows.weight is None else rows.weight
    extra = (even * weight * (log_p - floored)).sum(-1)
    return reduced(rows, kept(rows, row_losses(rows, log_p) + extra))


# --- deprecated arguments -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DeprecatedCall(Call):
    """The arguments of a cross entropy that still takes the deprecated ones."""

    size_average: bool | None = None
    reduce: bool | None = None

    def current(self, size_average: bool | None, reduce: bool | None) -> Call:
        """The call without them, as ``torch.nn._reduction`` translates them."""
        reduction = self.reduction
        if size_average is not None or reduce is not None:
            reduction = "mean" if size_average in (None, True) else "sum"
            reduction = "none" if reduce is False else reduction
        given = (self.input, self.target, self.weight, self.ignore_index)
        return Call(*given, reduction, self.label_smoothing)
