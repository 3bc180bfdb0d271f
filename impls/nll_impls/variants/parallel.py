"""Vocabulary-parallel cross entropies by other routes, their ranks simulated in one process."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nll_conformance.families.vocab_parallel_cross_entropy.shards import shards

from ..losses.rows import Rows, scaled
from ._declare import EAGER, ONE_SAMPLE_ON_GPU, SATURATED, variant


def _own(input: Tensor, ranks: int) -> list[Tensor]:
    """The logits as each rank may differentiate them: its own classes alone."""
    axis = 1 if input.dim() > 1 else 0
    place = torch.arange(input.shape[axis], device=input.device)
    place = place.view(-1, *[1] * (input.dim() - axis - 1))
    return [
        torch.where((place >= own.start) & (place < own.stop), input, input.detach())
        for own in shards(input.shape[axis], ranks)
    ]


def parallel_gathered(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ranks: int = 2,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Every rank gathers all logits and asks PyTorch's loss; the gradient keeps its slice."""
    return torch.stack(
        [
            F.cross_entropy(
                logits,
                target,
                weight=weight,
                ignore_index=ignore_index,
                reduction=reduction,
                label_smoothing=label_smoothing,
            )
            for logits in _own(input, ranks)
        ]
    )


def parallel_in_double(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ranks: int = 2,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The definition in float64, once for all ranks; each is given a copy, a leaf its slice."""
    losses = []
    for logits in _own(input, ranks):
        wide = None if weight is None else weight.double()
        rows = Rows.of(
            logits.double(), target, wide, ignore_index, reduction, label_smoothing
        ).wide()
        shifted = rows.logits - rows.logits.detach().amax(-1, keepdim=True)
        total = shifted.exp().sum(-1, keepdim=True).log()
        losses.append(rows.reduced(rows.losses(shifted, partial(torch.sub, total))))
    return torch.stack(losses).to(input.dtype)


class _Merged(torch.autograd.Function):
    """Log-probabilities of each rank's classes, from maxima and sums merged pair by pair."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ranks: int) -> Tensor:
        """(ranks, *rows, c): the same on every rank."""
        places = shards(logits.shape[-1], ranks)
        told = [_told(logits[..., place.start : place.stop]) for place in places]
        while len(told) > 1:
            odd = [told.pop()] if len(told) % 2 else []
            told = [_joined(a, b) for a, b in zip(told[::2], told[1::2], strict=True)] + odd
        top, total = told[0]
        log_p = torch.where(logits == top, 0.0, logits - top) - total.log()
        ctx.save_for_backward(log_p.exp())
        ctx.places = places
        return torch.stack([log_p] * ranks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Each rank's slice of what its own loss sends back."""
        (p,) = ctx.saved_tensors
        slices = []
        for own, place in zip(grad, ctx.places, strict=True):
            part = slice(place.start, place.stop)
            slices.append(own[..., part] - p[..., part] * own.sum(-1, keepdim=True))
        return torch.cat(slices, -1), None


def _told(part: Tensor) -> tuple[Tensor, Tensor]:
    """A shard's maximum and the sum of its exponentials below that; (*rows, 1) each."""
    if part.shape[-1] == 0:
        nothing = part.new_zeros(*part.shape[:-1], 1)
        return nothing - torch.inf, nothing
    top = part.amax(-1, keepdim=True)
    return top, torch.where(part == top, 0.0, part - top).exp().sum(-1, keepdim=True) * (
        ~top.isneginf()
    )


def _joined(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    top = torch.maximum(a[0], b[0])
    sums = [torch.where(own == top, 0.0, own - top).exp() * total for own, total in (a, b)]
    return top, sums[0] + sums[1]


def parallel_merged(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ranks: int = 2,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """A tree of pairs merges what the ranks tell; the gradient by hand."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    merged: Tensor = _Merged.apply(rows.logits, ranks)  # type: ignore[no-untyped-call]
    losses = []
    for log_p in merged:
        if label_smoothing:
            share = rows.distribution()
            share = share if rows.weight is None else share * rows.weight
            own = scaled(share, -log_p).sum(-1)
        else:
            own = replace(rows, label_smoothing=0.0).losses(log_p, torch.neg)
        losses.append(rows.reduced(own))
    return torch.stack(losses)


class ParallelModule(nn.Module):
    """``parallel_merged`` as a module: all options, the weight among them, at construction."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ranks: int = 2,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.options = (weight, ranks, ignore_index, reduction, label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of every rank, stacked."""
        return parallel_merged(input, target, *self.options)


PARALLEL: dict[str, Any] = {
    "family": "vocab_parallel_cross_entropy",
    "divergences": {"smoothed_over": "all"},
}
#: Who asks PyTorch's loss does as it does.
ALL_HANDED_ON = (*EAGER[:2], ONE_SAMPLE_ON_GPU, SATURATED)
IMPLEMENTATIONS = (
    variant(
        __name__, "parallel_gathered", precision="input_dtype", expected=ALL_HANDED_ON, **PARALLEL
    ),
    variant(__name__, "parallel_in_double", **PARALLEL),
    variant(__name__, "parallel_merged", **PARALLEL),
    variant(__name__, "ParallelModule", name="parallel_module", **PARALLEL),
)
