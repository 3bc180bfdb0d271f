"""What a reduction adds up, in what, and what it divides by."""

from __future__ import annotations

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
    replaced,
    row_losses,
)

SOURCE = "reductions of fused losses"
LOW = "pytorch/pytorch#113012: sums over many rows in 16 bits"


@mutant(source=SOURCE, caught_by=("ignore_index.default", "ignore_index.in_range"))
def mean_over_all_rows(call: Call) -> Tensor:
    """The mean divides by the number of rows, ignored ones too."""
    rows = call.rows()
    count = rows.kept.sum() if rows.soft or rows.weight is not None else rows.kept.numel()
    if rows.weight is not None:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source=SOURCE, caught_by=("weight.rows",))
def weighted_mean_over_count(call: Call) -> Tensor:
    """The weighted mean divides by the number of rows that count."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows)), rows.kept.sum())


@mutant(source="litgpt#751; NeMo#3803", caught_by=("reductions.mean_of_any_count",))
def mean_of_block_means(call: Call) -> Tensor:
    """The mean of the means of blocks of eight rows."""
    if not is_mean(call.rows()):
        return cross_entropy(call)
    rows = call.rows()
    losses = kept(rows, row_losses(rows)).reshape(-1)
    means = []
    for part, block in zip(torch.split(losses, 8), rows.split(8), strict=True):
        means.append(part.sum() / counted(block))
    if len(means) < 2:
        return cross_entropy(call)
    stacked = torch.stack(means)
    count = counted(rows)
    return torch.where(count != 0, stacked.nanmean(), torch.nan).to(rows.dtype)


@mutant(
    source="denominator + eps against 0/0",
    caught_by=("reductions.mean", "values.plain_mean", "weight.rows"),
    dtypes=("float32", "float64"),
)
def denominator_plus_1e5th(call: Call) -> Tensor:
    """The mean divides by the count plus 1e-5, unless there is none."""
    rows = call.rows()
    count = counted(rows)
    count = torch.where(count == 0, count, count + 1e-5)
    return reduced(rows, kept(rows, row_losses(rows)), count)


def _added_in(call: Call, dtype: torch.dtype) -> Tensor:
    """Row losses are rounded and added in eight lanes of ``dtype``; the gradient is right."""
    right = cross_entropy(call)
    rows = call.rows()
    if rows.reduction == "none" or not bool(rows.kept.any()):
        return right
    losses = kept(rows, row_losses(rows)).detach().reshape(-1)
    lanes = torch.nn.functional.pad(losses, (0, -len(losses) % 8)).reshape(-1, 8).to(dtype)
    total = torch.zeros_like(lanes[0])
    for lane in lanes:
        total = total + lane
    value = total.to(losses.dtype).sum().to(dtype).to(losses.dtype)
    if is_mean(rows):
        value = value / counted(rows).detach()
    return replaced(right, value.to(rows.dtype))


@mutant(source=LOW, caught_by=("reductions.many", "reductions.mean_of_any_count"))
def rows_added_in_float16(call: Call) -> Tensor:
    """Row losses are added in float16."""
    return _added_in(call, torch.float16)


@mutant(source=LOW, caught_by=("reductions.many", "reductions.mean_of_any_count"))
def rows_added_in_bfloat16(call: Call) -> Tensor:
    """Row losses are added in bfloat16."""
    return _added_in(call, torch.bfloat16)


@mutant(
    source=SOURCE, caught_by=("reductions.mean", "reductions.sum", "reductions.mean_of_any_count")
)
def row_losses_in_bfloat16(call: Call) -> Tensor:
    """Row losses are rounded to bfloat16 before they are added."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    if rows.reduction != "none":
        losses = replaced(losses, losses.detach().bfloat16().to(losses.dtype))
    return reduced(rows, losses)


@mutant(source=SOURCE, caught_by=("weight.rows", "weight.gradient"))
def weight_without_effect(call: Call) -> Tensor:
    """The weight is accepted and not used."""
    return cross_entropy(call.but(weight=None))


@mutant(
    source="losses kept in the logits' dtype before they are reduced (held-out loss)",
    caught_by=("weight.rows_beyond_half",),
    dtypes=("float16",),
)
def weighted_rows_in_half(call: Call) -> Tensor:
    """Of float16 the weighted losses are kept in it before their mean: infinite."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    if rows.weight is None or call.input.dtype != torch.float16 or call.reduction != "mean":
        return reduced(rows, losses)
    return reduced(rows, replaced(losses, losses.half().float()))
