"""Causal cross entropies, and losses that pick an entry, by other routes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.rows import Rows, widened
from ._declare import IMAGES_ON_GPU, variant


def _check(input: Tensor, target: Tensor) -> None:
    if target.shape != input.shape[:-1]:
        raise ValueError("logits and labels differ in shape")


def causal_as_images(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Positions are the pixels of an image one row high; float64 inside."""
    _check(input, target)
    logits = input[:, :-1].double().movedim(-1, 1)
    blank = torch.where((target[:, 1:] == ignore_index).unsqueeze(1), 0.0, logits)
    return F.cross_entropy(blank, target[:, 1:], ignore_index=ignore_index).to(input.dtype)


def causal_by_sequence(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """One sequence after the other; sums and counts are added and divided once."""
    _check(input, target)
    total, count = widened(input[:0]).sum(), 0
    for logits, labels in zip(input[:, :-1], target[:, 1:], strict=True):
        rows = Rows.of(logits, labels, None, ignore_index, "sum").wide()
        losses = rows.losses(rows.logits.log_softmax(-1), torch.neg)
        total = total + torch.where(rows.kept, losses, 0.0).sum()
        count += int(rows.kept.sum())
    return (total / torch.tensor(count, dtype=total.dtype)).to(input.dtype)


def causal_scored_only(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Only positions that are scored are looked at, cut out by their indices."""
    _check(input, target)
    labels = target[:, 1:]
    sequence, position = torch.nonzero(labels != ignore_index, as_tuple=True)
    logits = widened(input[sequence, position])
    log_p = logits - logits.logsumexp(-1, keepdim=True)
    picked = log_p[torch.arange(len(log_p)), labels[sequence, position].long()]
    if bool((labels[sequence, position] < 0).any()):
        raise IndexError("a label is negative and not ignored")
    return (-picked.sum() / len(picked) if len(picked) else -picked.sum() * math.nan).to(
        input.dtype
    )


def causal_backwards(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Time runs the other way: labels come before the logits that foresee them."""
    _check(input, target)
    logits, labels = input.flip(1)[:, 1:], target.flip(1)[:, :-1]
    rows = Rows.of(logits.movedim(-1, 1), labels, None, ignore_index).wide()
    top = rows.logits.detach().amax(-1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    shifted = rows.logits - top
    log_sum = shifted.exp().sum(-1, keepdim=True).log()
    return rows.reduced(rows.losses(shifted, lambda values: log_sum - values))


def nll_by_product(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """One-hot rows select by ``where``, so that nothing is multiplied by what is not asked for."""
    rows = Rows.of(input, target, weight, ignore_index, reduction).wide()
    rows.at_target(rows.logits)
    hot = F.one_hot(rows.target, rows.logits.shape[-1]).bool()
    losses = -torch.where(hot, rows.logits, 0.0).sum(-1)
    if rows.weight is not None:
        own = rows.of_targets(rows.weight)
        losses = own * torch.where((own == 0) & losses.isinf(), 0.0, losses)
    return rows.reduced(losses)


def prob_by_log2(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The logarithm to base 2 in float64, scaled."""
    rows = Rows.of(input.double(), target, weight, ignore_index, reduction).wide()
    base = math.log(2.0)

    def cost(p: Tensor) -> Tensor:
        return -base * torch.log2(torch.where(rows.kept.unsqueeze(-1), p, 1.0))

    return rows.reduced(rows.losses(rows.logits, cost)).to(input.dtype)


IMPLEMENTATIONS = (
    variant(__name__, "causal_as_images", family="causal_cross_entropy", expected=(IMAGES_ON_GPU,)),
    *(
        variant(__name__, f"causal_{name}", family="causal_cross_entropy")
        for name in ("by_sequence", "scored_only", "backwards")
    ),
    variant(__name__, "nll_by_product", family="nll"),
    variant(__name__, "prob_by_log2", family="prob_nll"),
)
