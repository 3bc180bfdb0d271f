"""NLL of probabilities: epsilons, clamps, other logarithms, everybody's logarithm."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import Rows
from ._base import altered, counted, replaced
from ._picked import (
    Picked,
    cost_of,
    log_cost,
    narrowed,
    prob_mutant,
    prob_nll,
    reduced,
    square_turned,
)

FORMULA = "tutorials that take the logarithm of a softmax"


@prob_mutant(source=FORMULA, caught_by=("prob_nll.row_loss", "values.plain_mean"))
def logarithm_to_base_two(call: Picked) -> Tensor:
    """The logarithm is that to base 2: bits, not nats."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, log_cost(rows, lambda p: -torch.log2(p))))


@prob_mutant(source=FORMULA, caught_by=("prob_nll.no_epsilon",))
def epsilon_added(call: Picked) -> Tensor:
    """1e-7 is added before the logarithm is taken, where that is finite without it."""
    rows = call.rows()
    small = torch.finfo(call.input.dtype).tiny * 2**10

    def cost(p: Tensor) -> Tensor:
        return -torch.log(torch.where(p > small, p + 1e-7, p))

    return reduced(rows, cost_of(rows, log_cost(rows, cost)))


@prob_mutant(
    source="a threshold that NaN does not pass (held-out loss of a blind author)",
    caught_by=("stability.nan_at_target",),
)
def unknown_counts_as_impossible(call: Picked) -> Tensor:
    """A probability that is not at least 0, NaN among them, counts as 0."""
    rows = call.rows()
    cost = log_cost(rows, lambda p: -torch.log(torch.where(p >= 0.0, p, 0.0)))
    return reduced(rows, cost_of(rows, cost))


@prob_mutant(source="FluxML/Flux.jl#437", caught_by=("side_effects.edge_inputs",))
def clamped_in_place(call: Picked) -> Tensor:
    """Probabilities of 0 and 1 are clamped in the caller's tensor, after the loss is known."""
    loss = prob_nll(call)
    tiny = torch.finfo(call.input.dtype).tiny
    call.input.data.clamp_(tiny, 1.0 - torch.finfo(call.input.dtype).eps)
    return loss


@prob_mutant(
    source="keras-team/keras@28f35465, keras-team/tf-keras#242",
    caught_by=("prob_nll.tiny_probabilities", "prob_nll.no_epsilon"),
)
def clamped_at_1e_12(call: Picked) -> Tensor:
    """Probabilities below 1e-12 are raised to it, but for 0."""
    rows = call.rows()

    def cost(p: Tensor) -> Tensor:
        return -torch.log(torch.where(p > 0, p.clamp(min=1e-12), p))

    return reduced(rows, cost_of(rows, log_cost(rows, cost)))


@prob_mutant(
    source="keras-team/keras@28f35465, keras-team/tf-keras#242",
    caught_by=("prob_nll.certain_target",),
)
def clamped_below_one(call: Picked) -> Tensor:
    """A probability of 1 becomes 1 - 1e-7: its loss is above zero, its gradient zero."""
    rows = call.rows()

    def cost(p: Tensor) -> Tensor:
        return -torch.log(torch.where(p < 1, p, p.clamp(max=1 - 2**-23)))

    return reduced(rows, cost_of(rows, log_cost(rows, cost)))


@prob_mutant(source=FORMULA, caught_by=("prob_nll.nearly_certain_target",))
def nearly_one_is_one(call: Picked) -> Tensor:
    """Probabilities of 0.99 and more cost nothing, their gradient is kept."""
    rows = call.rows()

    def cost(p: Tensor) -> Tensor:
        return replaced(-torch.log(p), torch.where(p > 0.99, 0.0, -torch.log(p)).detach())

    return reduced(rows, cost_of(rows, log_cost(rows, cost)))


@prob_mutant(
    source="torch.nn.BCELoss clamps logarithms at -100", caught_by=("prob_nll.infinite_loss",)
)
def loss_limited_to_100(call: Picked) -> Tensor:
    """The logarithm of 0 is -100, not minus infinity."""
    rows = call.rows()

    def cost(p: Tensor) -> Tensor:
        return replaced(-torch.log(p), torch.where(p > 0, -torch.log(p), 100.0).detach())

    return reduced(rows, cost_of(rows, log_cost(rows, cost)))


@prob_mutant(source="pytorch/xla#2553, #2991", caught_by=("prob_nll.zero_elsewhere",))
def one_hot_times_logarithms(call: Picked) -> Tensor:
    """The sum of one-hot rows times logarithms: 0 times the logarithm of 0."""
    rows = call.rows()
    blank = torch.where(rows.kept.unsqueeze(-1), rows.logits, 1.0)
    losses = -(replace(rows, weight=None).distribution() * blank.log()).sum(-1)
    return reduced(rows, losses if rows.weight is None else losses * rows.of_targets(rows.weight))


@prob_mutant(source="pytorch/pytorch#1620", caught_by=("prob_nll.zero_elsewhere_gradient",))
def logarithm_of_every_class(call: Picked) -> Tensor:
    """The logarithm of all classes is taken before the target's is picked: 0/0 in backward."""
    rows = call.rows()
    blank = torch.where(rows.kept.unsqueeze(-1), rows.logits, 1.0)
    return reduced(rows, cost_of(rows, torch.neg, blank.log()))


def _total(rows: Rows) -> Tensor:
    return torch.where(rows.kept, rows.logits.sum(-1), 1.0).unsqueeze(-1)


@prob_mutant(
    source="keras.losses.CategoricalCrossentropy", caught_by=("prob_nll.not_normalised_again",)
)
def divided_by_their_sum(call: Picked) -> Tensor:
    """Probabilities are divided by their sum, as if they might not add up to 1."""
    rows = call.rows()
    entries = rows.logits / _total(rows)
    return reduced(rows, cost_of(rows, log_cost(rows), entries))


@prob_mutant(source=FORMULA, caught_by=("prob_nll.gradient_at_target_alone",))
def gradient_of_a_softmax(call: Picked) -> Tensor:
    """The gradient is p - onehot, that of the logits behind the probabilities."""
    rows = call.rows()
    losses = cost_of(rows, log_cost(rows)).detach()
    share = rows.logits.detach() - replace(rows, weight=None).distribution()
    if rows.weight is not None:
        share = share * rows.of_targets(rows.weight).unsqueeze(-1)
    through = (share * rows.logits).sum(-1)
    return reduced(rows, losses + (through - through.detach()))


@prob_mutant(source=FORMULA, caught_by=("prob_nll.one_class_only",))
def one_class_has_no_gradient(call: Picked) -> Tensor:
    """With a single class the input gets no gradient: there is nothing to learn."""
    one = call.input.shape[1 if call.input.dim() > 1 else 0] == 1
    return prob_nll(call.but(input=call.input.detach() + call.input * 0.0) if one else call)


@prob_mutant(
    source="research/divergences.md, pitfall 8", caught_by=("prob_nll.classes_in_dim_one",)
)
def classes_last_if_equal(call: Picked) -> Tensor:
    """Where the last dimension is as long as the classes', classes are looked up there."""
    return prob_nll(square_turned(call))


@prob_mutant(source="tensorflow/models#6641", caught_by=("prob_nll.every_target_class",))
def index_in_8_bits(call: Picked) -> Tensor:
    """Class indices are stored in 8 bits: those above 127 wrap."""
    return prob_nll(narrowed(call, torch.int8))


@prob_mutant(
    source="PaddlePaddle/Paddle#48663 (of a cross entropy)",
    caught_by=("ignore_index.default", "ignore_index.in_range"),
)
def mean_counts_ignored(call: Picked) -> Tensor:
    """The mean divides by all rows, the ignored ones too."""
    rows = call.rows()
    count = counted(rows) + (~rows.kept).sum()
    return reduced(rows, cost_of(rows, log_cost(rows)), count)


@prob_mutant(source="research/divergences.md, pitfall 7", caught_by=("weight.rows",))
def probabilities_multiplied(call: Picked) -> Tensor:
    """Class weights multiply the probabilities in place of the losses."""
    rows = call.rows()
    if rows.weight is None:
        return prob_nll(call)
    bare = replace(rows, logits=rows.logits * rows.weight.clamp(min=2**-8), weight=None)
    return reduced(bare, cost_of(bare, log_cost(bare)), counted(rows))


@prob_mutant(source="research/divergences.md, pitfall 1", caught_by=("mask.positions",))
def mean_of_sequence_means(call: Picked) -> Tensor:
    """With a mask the mean is that of each sequence's mean, however long they are."""
    rows = call.rows()
    if call.mask is None or rows.reduction != "mean" or rows.kept.dim() < 2:
        return prob_nll(call)
    losses = torch.where(rows.kept, cost_of(rows, log_cost(rows)), 0.0)
    places = tuple(range(1, losses.dim()))
    weight = torch.ones(()) if rows.weight is None else rows.of_targets(rows.weight)
    counts = (rows.kept * weight).sum(places)
    means = losses.sum(places) / torch.where(counts == 0, math.inf, counts)
    return (means.sum() / (counts != 0).sum()).to(rows.dtype)


@prob_mutant(
    source="1 / p before what flows back",
    caught_by=("prob_nll.mean_of_tiny_probabilities",),
)
def reciprocal_in_half(call: Picked) -> Tensor:
    """Of float16 1 / p is taken in float16: infinite, where the row's share of the mean is not."""
    if call.input.dtype != torch.float16 or call.reduction != "mean":
        return prob_nll(call)
    rows = call.rows()
    small = cost_of(rows, lambda p: p.detach()) < 1 / 65504

    def overflowing(losses: Tensor) -> Tensor:
        return altered(losses, lambda grad: torch.where(small & rows.kept, torch.inf, grad))

    return reduced(rows, overflowing(cost_of(rows, log_cost(rows))))
