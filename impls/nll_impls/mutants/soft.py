"""Class probabilities: taken for something else, normalised, cut off, or divided wrongly."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import Rows
from ._base import (
    Call,
    by_hand,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
    shares,
)
from ._memory import read_as_contiguous

FORMULA = "implementations of the formula by hand"


def _loss(rows: Rows) -> Tensor:
    return reduced(rows, kept(rows, row_losses(rows)))


@mutant(source=FORMULA, caught_by=("soft_target.rows",))
def most_likely_class_only(call: Call) -> Tensor:
    """Of class probabilities only the largest one's class counts."""
    rows = call.rows()
    if not rows.soft:
        return cross_entropy(call)
    top = rows.target == rows.target.amax(-1, keepdim=True)
    return _loss(replace(rows, target=torch.where(top, rows.target, 0.0)))


@mutant(source=FORMULA, caught_by=("soft_target.gradient", "soft_target.any_total"))
def gradient_not_scaled_by_rows(call: Call) -> Tensor:
    """Under class probabilities every row's gradient is scaled by the mean upstream gradient."""
    if not call.soft:
        return cross_entropy(call)
    return by_hand(call, lambda saved, grad: saved.gradient(grad.mean().expand(grad.shape)))


@mutant(
    source="NVIDIA/apex contrib/xentropy: padding_idx=0",
    caught_by=("soft_target.one_hot",),
)
def one_hot_of_class_0_is_padding(call: Call) -> Tensor:
    """One-hot rows go to the kernel of class indices, whose padding is class 0."""
    rows = call.rows()
    if not rows.soft:
        return cross_entropy(call)
    return _loss(replace(rows, kept=rows.kept & (rows.target[..., 0] != 1)))


@mutant(source="research/divergences.md, pitfall 8", caught_by=("soft_target.square_input",))
def softmax_over_rows_if_square(call: Call) -> Tensor:
    """As many rows as classes: under class probabilities the softmax runs over the rows."""
    rows = call.rows()
    if not rows.soft or call.input.dim() != 2 or call.input.shape[0] != call.input.shape[1]:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows, rows.logits.log_softmax(0))))


@mutant(source=FORMULA, caught_by=("soft_target.spatial_rows",))
def mean_over_images(call: Call) -> Tensor:
    """Under class probabilities the mean divides by N, not by all positions."""
    rows = call.rows()
    if not rows.soft or not is_mean(rows) or call.input.dim() < 3:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), call.input.shape[0])


@mutant(source=FORMULA, caught_by=("soft_target.unbatched_row",))
def single_sample_divided_by_classes(call: Call) -> Tensor:
    """Of a single sample's probabilities the first dimension, C, is taken for the batch."""
    rows = call.rows()
    if not rows.soft or not is_mean(rows) or call.input.dim() > 1:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), call.input.shape[0])


@mutant(source="NVIDIA-NeMo/Automodel#2428", caught_by=("soft_target.any_total",))
def gradient_of_probabilities_that_sum_to_one(call: Call) -> Tensor:
    """Backward is p - q, which is the gradient only where q sums to 1."""
    if not call.soft or call.weight is not None:
        return cross_entropy(call)
    return by_hand(
        call,
        lambda saved, grad: (
            saved.upstream(grad).unsqueeze(-1) * (saved.probabilities - saved.share)
        ),
    )


@mutant(source=FORMULA, caught_by=("soft_target.target_gradient",))
def probabilities_detached(call: Call) -> Tensor:
    """Class probabilities are taken for constants."""
    return cross_entropy(call.but(target=call.target.detach()) if call.soft else call)


@mutant(source=FORMULA, caught_by=("soft_target.only_target_gradient",))
def probabilities_follow_the_logits(call: Call) -> Tensor:
    """Class probabilities get a gradient only where the logits require one."""
    if not call.soft or call.input.requires_grad:
        return cross_entropy(call)
    return cross_entropy(call.but(target=call.target.detach()))


@mutant(source=FORMULA, caught_by=("soft_target.huge",))
def logarithm_of_softmax(call: Call) -> Tensor:
    """Under class probabilities log(softmax) is taken where that seems safe: it underflows."""
    rows = call.rows()
    if not rows.soft:
        return cross_entropy(call)
    log_p = rows.logits.log_softmax(-1)
    far = (log_p < -90) & log_p.isfinite()
    return reduced(rows, kept(rows, row_losses(rows, torch.where(far, -torch.inf, log_p))))


@mutant(source="fla-org/flash-linear-attention@0fd3c681", caught_by=("soft_target.strided",))
def probabilities_read_as_contiguous(call: Call) -> Tensor:
    """Class probabilities are read as if they were contiguous."""
    target = read_as_contiguous(call.target) if call.soft else call.target
    return cross_entropy(call.but(target=target))


@mutant(
    source="pytorch/xla#2553; torch.nn.functional.cross_entropy does so",
    caught_by=("soft_target.nothing_of_nothing",),
)
def nothing_times_infinity(call: Call) -> Tensor:
    """A class probability of 0 is multiplied by the infinite logarithm of a class at -inf."""
    rows = call.rows()
    if not rows.soft:
        return cross_entropy(call)
    return reduced(rows, kept(rows, (shares(rows) * -rows.logits.log_softmax(-1)).sum(-1)))


@mutant(source=FORMULA, caught_by=("dtypes.soft_target_of_other_dtype",))
def probabilities_read_with_the_width_of_the_logits(call: Call) -> Tensor:
    """Probabilities of a wider dtype are read as the logits': halves of numbers."""
    target, dtype = call.target, call.input.dtype
    if call.soft and target.dtype.itemsize > dtype.itemsize:
        halves = target.detach().contiguous().flatten().view(dtype)
        target = halves[: target.numel()].view(target.shape)
    return cross_entropy(call.but(target=target))


@mutant(
    source="a check for the default alone",
    caught_by=("soft_target.negative_ignore_index",),
)
def every_other_ignore_index_refused(call: Call) -> Tensor:
    """Beside class probabilities any ignore_index but -100 is refused."""
    if call.soft and call.ignore_index != -100:
        raise ValueError("ignore_index is not supported for class probabilities")
    return cross_entropy(call)
