"""Class weights are applied to the wrong thing, or divide by the wrong thing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ._base import Call, counted, cross_entropy, is_mean, kept, mutant, reduced, row_losses


@mutant(
    source="pytorch/pytorch#31491",
    caught_by=("weight.nothing_weighs", "weight.negative", "weight.zero"),
    divergences={"all_ignored_mean": "zero", "empty_mean": "zero", "half_output": "input"},
)
def mean_of_nonpositive_weight_is_sum(call: Call) -> Tensor:
    """The mean divides only by a positive total weight; otherwise it is the sum."""
    rows = call.rows()
    count = counted(rows)
    return reduced(rows, kept(rows, row_losses(rows)), count if count > 0 else 1)


@mutant(
    source="pytorch/pytorch#54843, #65329, #50528",
    caught_by=("weight.rows", "weight.gradient", "weight.square_input"),
)
def mean_divides_by_rows(call: Call) -> Tensor:
    """The weighted mean divides by the number of rows, not by the weight of their targets."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows)), rows.kept.sum())


@mutant(
    source="research/divergences.md, pitfall 7",
    caught_by=("weight.rows", "soft_target.with_weight", "weight.gradient"),
)
def logits_multiplied(call: Call) -> Tensor:
    """Class weights multiply the logits in place of the losses."""
    rows = call.rows()
    if rows.weight is None:
        return cross_entropy(call)
    rows = replace(rows, logits=rows.logits * rows.weight, weight=None)
    return reduced(rows, kept(rows, row_losses(rows)))


@mutant(
    source="research/divergences.md, pitfall 6",
    caught_by=("weight.square_input",),
)
def weight_along_the_batch(call: Call) -> Tensor:
    """Where rows and classes are as many, the weight of class n scales row n."""
    rows = call.rows()
    if rows.weight is None or rows.soft or rows.kept.shape != rows.weight.shape:
        return cross_entropy(call)
    losses = row_losses(replace(rows, weight=None)) * rows.weight
    return reduced(rows, kept(rows, losses))


@mutant(
    source="pytorch/pytorch#107680 (the other way round)",
    caught_by=("soft_target.with_weight",),
)
def soft_mean_divides_by_weight(call: Call) -> Tensor:
    """With class probabilities the mean divides by their mean weight, as with class indices."""
    rows = call.rows()
    count = counted(rows)
    if rows.soft and rows.weight is not None and is_mean(rows):
        count = torch.where(rows.kept, (rows.target * rows.weight).sum(-1), 0.0).sum()
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source="pytorch/pytorch#134431", caught_by=("weight.nothing_weighs",))
def divided_unless_by_zero(call: Call) -> Tensor:
    """The mean over rows of no weight is 0, that over no rows is not."""
    rows = call.rows()
    count = counted(rows)
    loss = reduced(rows, kept(rows, row_losses(rows)), count)
    nothing = is_mean(rows) and bool(rows.kept.any()) and bool(count == 0)
    return torch.where(loss.isnan(), 0.0, loss) if nothing else loss
