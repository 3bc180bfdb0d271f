"""Rows whose target is ``ignore_index`` take part after all, or are looked up."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import (
    NEVER,
    Call,
    counted,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    replaced,
    row_losses,
)

#: Rows of a chunk, where rows are taken in chunks.
CHUNK = 4


@mutant(
    source="linkedin/Liger-Kernel#1338",
    caught_by=("ignore_index.default", "ignore_index.negative", "ignore_index.above_range"),
)
def row_never_written(call: Call) -> Tensor:
    """The loss of an ignored row is whatever its place in the buffer held before."""
    rows = call.rows()
    return reduced(rows, torch.where(rows.kept, row_losses(rows), 0.75))


@mutant(
    source="pytorch/pytorch#20406",
    caught_by=("ignore_index.default", "ignore_index.all_ignored_sum", "ignore_index.negative"),
)
def first_ignored_row_is_nan_unreduced(call: Call) -> Tensor:
    """Unreduced, the first of several ignored rows is NaN: uninitialised memory."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    ignored = ~rows.kept.reshape(-1)
    if rows.reduction == "none" and ignored.sum() > 1:
        first = ignored & (ignored.cumsum(0) == 1)
        losses = losses.masked_fill(first.reshape(losses.shape), torch.nan)
    return reduced(rows, losses)


@mutant(
    source="PaddlePaddle/Paddle#48663 (fixed by #48974)",
    caught_by=("ignore_index.default", "ignore_index.in_range", "ignore_index.negative"),
)
def mean_counts_ignored(call: Call) -> Tensor:
    """The mean divides by all rows, the ignored ones too."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows)), counted(rows) + (~rows.kept).sum())


@mutant(source="pytorch/pytorch#15508", caught_by=("ignore_index.above_range",))
def ignored_target_range_checked_unreduced(call: Call) -> Tensor:
    """Unreduced, an ignored target of C or more is refused as out of bounds."""
    rows = call.rows()
    if (
        rows.reduction == "none"
        and not rows.soft
        and bool((call.target >= rows.logits.shape[-1]).any())
    ):
        raise IndexError("target out of bounds")
    return cross_entropy(call)


@mutant(
    source="pytorch/pytorch#95794 (fixed by #95833)",
    caught_by=("ignore_index.negative", "ignore_index.default"),
)
def negative_index_not_masked(call: Call) -> Tensor:
    """A negative ignore index masks nothing: its rows are scored against classes from the end."""
    if call.soft or call.ignore_index >= 0:
        return cross_entropy(call)
    target = call.target.long()
    wrapped = call.ignore_index + call.rows().logits.shape[-1]  # refused if still negative
    target = torch.where(target == call.ignore_index, wrapped, target)
    return cross_entropy(call.but(target=target, ignore_index=NEVER))


@mutant(
    source="Lightning-AI/litgpt#751",
    caught_by=("ignore_index.default", "ignore_index.long_runs"),
)
def chunked_mean_counts_ignored(call: Call) -> Tensor:
    """Of more rows than one chunk holds, the mean divides by the ignored ones too."""
    rows = call.rows()
    count = counted(rows)
    if rows.kept.numel() > CHUNK:
        count = count + (~rows.kept).sum()
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source="linkedin/Liger-Kernel#153", caught_by=("ignore_index.long_runs",))
def ignored_chunk_is_nan(call: Call) -> Tensor:
    """A chunk of which every row is ignored divides by zero before it is rescaled."""
    rows = call.rows()
    if not is_mean(rows):
        return cross_entropy(call)
    total = counted(rows)
    means = []
    for chunk in rows.split(CHUNK):
        count = counted(chunk)
        means.append(kept(chunk, row_losses(chunk)).sum() / count * (count / total))
    return torch.stack(means).sum().to(rows.dtype)


@mutant(
    source="pytorch/pytorch#192685",
    caught_by=("ignore_index.default", "ignore_index.negative", "ignore_index.above_range"),
)
def gathered_before_masked(call: Call) -> Tensor:
    """Ignored targets are used as indices, and masked only afterwards."""
    rows = call.rows()
    if not rows.soft:
        rows.logits.detach().gather(-1, call.target.long().unsqueeze(-1))
    return cross_entropy(call)


@mutant(
    source="huggingface/trl#1987",
    caught_by=("ignore_index.in_range", "ignore_index.negative", "ignore_index.above_range"),
)
def ignore_index_not_forwarded(call: Call) -> Tensor:
    """Whatever ignore index is asked for, -100 is ignored."""
    return cross_entropy(call if call.soft else call.but(ignore_index=-100))


@mutant(
    source="allenai/olmoearth_pretrain#560",
    caught_by=("ignore_index.default", "ignore_index.negative", "ignore_index.above_range"),
)
def ignored_replaced_first(call: Call) -> Tensor:
    """Ignored targets become class 0 before the loss looks for the ignore index."""
    if call.soft:
        return cross_entropy(call)
    return cross_entropy(
        call.but(target=call.target.masked_fill(call.target == call.ignore_index, 0))
    )


@mutant(source="sooftware/kospeech#37", caught_by=("ignore_index.nonfinite_loss",))
def smoothing_of_ignored_rows_times_zero(call: Call) -> Tensor:
    """What smoothing adds to ignored rows is multiplied by zero: NaN if a logit is infinite."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    if call.label_smoothing and not rows.soft:
        smoothed = torch.log_softmax(call.logits(), dim=-1).mean(-1)
        losses = losses + torch.where(rows.kept, 0.0, 0.0 * smoothed)
    return reduced(rows, losses)


@mutant(
    source="a mask multiplied into what flows back",
    caught_by=("ignore_index.nonfinite_upstream_gradient",),
)
def upstream_of_ignored_rows_times_zero(call: Call) -> Tensor:
    """What flows back to an ignored row is multiplied by 0, NaN and infinities too."""
    rows = call.rows()
    if call.reduction != "none":
        return cross_entropy(call)
    nothing = replaced(
        call.logits().sum(-1) * 0.0, torch.zeros_like(rows.kept, dtype=torch.float32)
    )
    return reduced(rows, kept(rows, row_losses(rows)) + nothing)


@mutant(
    source="masks computed in the dtype of what they multiply",
    caught_by=("ignore_index.neighbours",),
)
def compared_in_the_logits_dtype(call: Call) -> Tensor:
    """Targets are compared with ignore_index in the dtype of the logits: neighbours are equal."""
    if call.soft:
        return cross_entropy(call)
    index = torch.tensor(call.ignore_index)
    equal = call.target.to(call.input.dtype) == index.to(call.input.dtype)
    return cross_entropy(call.but(target=torch.where(equal, index, call.target.long())))


@mutant(
    source="a loss that keeps the graph where nothing counts: logits.sum() * 0",
    caught_by=("ignore_index.all_ignored_sum",),
)
def nothing_as_a_multiple_of_the_logits(call: Call) -> Tensor:
    """The sum where every row is ignored is 0 times that of the logits: NaN of classes at -inf."""
    rows = call.rows()
    if call.reduction != "sum" or rows.soft or rows.kept.any():
        return cross_entropy(call)
    return call.input.sum() * 0.0
