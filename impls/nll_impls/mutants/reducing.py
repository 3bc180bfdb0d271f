"""Sums and means are put together wrongly, or the reduction's name is read wrongly."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ._base import Call, counted, cross_entropy, is_mean, kept, mutant, reduced, row_losses

#: Rows of a chunk, or of a micro-batch.
CHUNK = 4
MEAN = "mean"


def _chunks(call: Call) -> list[Tensor]:
    """The reduced loss of each chunk."""
    return [reduced(chunk, kept(chunk, row_losses(chunk))) for chunk in call.rows().split(CHUNK)]


@mutant(
    source="NVIDIA-NeMo/Automodel#3803 (fixed by #3804)",
    caught_by=("reductions.mean_of_any_count", "reductions.mean", "reductions.none"),
)
def chunk_results_added(call: Call) -> Tensor:
    """The results of chunks are added, whatever the reduction: right for sums alone."""
    if call.target.numel() <= CHUNK or call.reduction == "sum":
        return cross_entropy(call)
    return torch.stack(_chunks(call)).sum(0)


@mutant(
    source="huggingface/transformers#34191",
    caught_by=("reductions.mean_of_any_count", "ignore_index.default", "weight.rows"),
)
def mean_of_chunk_means(call: Call) -> Tensor:
    """The mean is that of the means of chunks, however many rows of each count."""
    rows = call.rows()
    if not is_mean(rows) or rows.kept.numel() <= CHUNK:
        return cross_entropy(call)
    return torch.stack([chunk.float() for chunk in _chunks(call)]).mean().to(rows.dtype)


@mutant(
    source="Oneflow-Inc/oneflow#4789",
    caught_by=("reductions.mean_counts_rows_without_loss",),
)
def rows_counted_by_their_losses(call: Call) -> Tensor:
    """The mean divides by the rows whose loss is not zero, as if the others were ignored."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    counts = rows.kept & ((losses != 0) | losses.isnan())
    if rows.weight is not None or not counts.any():
        return cross_entropy(call)
    return reduced(rows, losses, counts.sum())


@mutant(
    source="unslothai/unsloth-zoo#1023",
    caught_by=("reductions.mean_of_any_count", "reductions.mean", "reductions.many"),
)
def normalised_twice(call: Call) -> Tensor:
    """The mean is divided by the number of chunks once more."""
    rows = call.rows()
    chunks = max(1, math.ceil(rows.kept.numel() / CHUNK))
    return reduced(rows, kept(rows, row_losses(rows)), counted(rows) * chunks)


@mutant(
    source="unslothai/unsloth-zoo#1066",
    caught_by=("ignore_index.default", "ignore_index.in_range", "ignore_index.negative"),
)
def ignored_subtracted_twice(call: Call) -> Tensor:
    """Rows already left out of the count are subtracted from it again."""
    rows = call.rows()
    count = counted(rows)
    return reduced(
        rows, kept(rows, row_losses(rows)), torch.where(count > 0, count - (~rows.kept).sum(), 0)
    )


@mutant(
    source="research/divergences.md, pitfall 1; pytorch/torcheval#154",
    caught_by=("ignore_index.spatial_rows", "weight.spatial_rows"),
)
def mean_of_sequence_means(call: Call) -> Tensor:
    """The mean over positions is taken within each sequence first, then over sequences."""
    rows = call.rows()
    if not is_mean(rows) or rows.kept.dim() < 2 or rows.soft:
        return cross_entropy(call)
    within = tuple(range(1, rows.kept.dim()))
    losses = kept(rows, row_losses(rows)).sum(within)
    weight = (
        torch.ones_like(rows.logits[..., 0])
        if rows.weight is None
        else rows.of_targets(rows.weight)
    )
    counts = kept(rows, weight).sum(within)
    means = torch.where(rows.kept.flatten(1).any(1), losses / counts, torch.nan)
    return means.nanmean().to(rows.dtype)


@mutant(
    source="research/divergences.md, pitfall 9",
    caught_by=("errors.reduction_name",),
)
def unknown_reduction_is_none(call: Call) -> Tensor:
    """A reduction of any other name is taken for "none"."""
    known = call.reduction in ("mean", "sum")
    return cross_entropy(call if known else call.but(reduction="none"))


@mutant(
    source="research/divergences.md, pitfall 9",
    caught_by=("reductions.known_by_value",),
)
def reduction_compared_by_identity(call: Call) -> Tensor:
    """The reduction's name is compared by identity: an equal string is taken for "none"."""
    if call.reduction == MEAN and call.reduction is not MEAN:
        return cross_entropy(call.but(reduction="none"))
    return cross_entropy(call)


@mutant(
    source="research/divergences.md, pitfall 14",
    caught_by=("reductions.sum", "reductions.each_with_gradient"),
)
def sum_detached(call: Call) -> Tensor:
    """The sum carries no graph: it was turned into a number for the log."""
    loss = cross_entropy(call)
    return loss.detach() if call.reduction == "sum" else loss


@mutant(
    source="pytorch/pytorch#53964 (the same fault in a cross entropy)",
    caught_by=("shapes.spatial_input", "shapes.spatial_gradient"),
)
def unreduced_sums_positions(call: Call) -> Tensor:
    """Unreduced, the losses of a sample's positions are added up."""
    loss = cross_entropy(call)
    return loss.flatten(1).sum(1) if loss.dim() > 1 else loss


@mutant(
    source="pytorch/pytorch#17347 (the same fault in a cross entropy)",
    caught_by=("reductions.none",),
)
def none_is_mean(call: Call) -> Tensor:
    """reduction="none" is not forwarded: the mean comes back."""
    rows = call.rows()
    if rows.reduction == "none":
        rows = replace(rows, reduction="mean")
    return reduced(rows, kept(rows, row_losses(rows)))
