"""The smoothed target is another distribution, or is not applied like the plain one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import scaled
from ._base import (
    Call,
    Saved,
    by_hand,
    counted,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
    shares,
    spread,
)


def _parts(call: Call) -> tuple[Tensor, Tensor]:
    """(*rows) each: the target's term and the smoothing term, also of ignored rows."""
    rows = call.rows()
    log_probabilities = torch.log_softmax(call.logits(), dim=-1)
    own = row_losses(replace(rows, label_smoothing=0.0), log_probabilities)
    everywhere = -log_probabilities
    if rows.weight is not None:
        everywhere = scaled(rows.weight, everywhere)
    even = call.label_smoothing / log_probabilities.shape[-1]
    return (1.0 - call.label_smoothing) * own, even * everywhere.sum(-1)


@mutant(
    source="pytorch/pytorch#69339, #72056, #91383 (fixed by #69511)",
    caught_by=("label_smoothing.with_weight_and_ignore_index",),
)
def weight_looked_up_for_ignored(call: Call) -> Tensor:
    """With weights and smoothing the mean looks up the weight of ignored targets: out of bounds."""
    rows = call.rows()
    if rows.weight is not None and call.label_smoothing and is_mean(rows) and not rows.soft:
        rows.weight.gather(0, call.target.long().reshape(-1))
    return cross_entropy(call)


@mutant(
    source="pytorch/pytorch#69511",
    caught_by=("label_smoothing.with_weight_and_ignore_index",),
)
def denominator_counts_ignored(call: Call) -> Tensor:
    """With weights the smoothing term is divided by the weights of ignored rows, too."""
    rows = call.rows()
    if rows.weight is None or not call.label_smoothing or not is_mean(rows) or rows.soft:
        return cross_entropy(call)
    own, even = _parts(call)
    everything = rows.of_targets(rows.weight).sum()
    losses = kept(rows, own) / counted(rows) + kept(rows, even) / everything
    return reduced(replace(rows, reduction="sum"), losses)


@mutant(
    source="pytorch/pytorch#73205",
    caught_by=(
        "label_smoothing.with_ignore_index",
        "label_smoothing.with_weight_and_ignore_index",
    ),
)
def ignored_rows_smoothed(call: Call) -> Tensor:
    """Reduced, the smoothing term of ignored rows is part of the loss."""
    rows = call.rows()
    if rows.soft or not call.label_smoothing or rows.reduction == "none":
        return cross_entropy(call)
    own, even = _parts(call)
    return reduced(rows, kept(rows, own) + even)


@mutant(
    source="keras-team/keras#23437",
    caught_by=("label_smoothing.spatial_rows",),
)
def classes_of_last_axis(call: Call) -> Tensor:
    """The smoothing mass is divided by the size of the last dimension, not of the classes."""
    if not call.label_smoothing or call.input.shape[-1] == 0:
        return cross_entropy(call)
    rows = call.rows()
    plain = replace(rows, label_smoothing=0.0)
    even = call.label_smoothing / call.input.shape[-1]
    share = (1.0 - call.label_smoothing) * plain.distribution() + even
    share = share if rows.weight is None else share * rows.weight
    losses = spread(share, torch.log_softmax(rows.logits, dim=-1))
    return reduced(rows, kept(rows, losses))


@mutant(
    source="facebookresearch/fairseq#3182",
    caught_by=("label_smoothing.rows", "label_smoothing.gradient", "label_smoothing.full"),
)
def spread_over_other_classes(call: Call) -> Tensor:
    """The smoothing mass is spread over the C - 1 other classes, not over all C."""
    if not call.label_smoothing:
        return cross_entropy(call)
    rows = call.rows()
    even = call.label_smoothing / (rows.logits.shape[-1] - 1)
    plain = replace(rows, label_smoothing=0.0)
    share = (1.0 - call.label_smoothing - even) * plain.distribution() + even
    share = share if rows.weight is None else share * rows.weight
    losses = spread(share, torch.log_softmax(rows.logits, dim=-1))
    return reduced(rows, kept(rows, losses))


@mutant(
    source="facebookresearch/fairseq#229",
    caught_by=("label_smoothing.with_ignore_index",),
)
def padding_column_not_row(call: Call) -> Tensor:
    """Smoothing leaves the ignored class's column out and lets the ignored rows pay."""
    rows = call.rows()
    classes = rows.logits.shape[-1]
    if rows.soft or not call.label_smoothing or not 0 <= call.ignore_index < classes:
        return cross_entropy(call)
    log_probabilities = torch.log_softmax(call.logits(), dim=-1)
    own = row_losses(replace(rows, label_smoothing=0.0), log_probabilities)
    column = torch.arange(classes, device=call.input.device) != call.ignore_index
    share = column * (call.label_smoothing / classes)
    share = share if rows.weight is None else share * rows.weight
    even = spread(share.expand(log_probabilities.shape), log_probabilities)
    return reduced(rows, (1.0 - call.label_smoothing) * kept(rows, own) + even)


@mutant(
    source="linkedin/Liger-Kernel#244",
    caught_by=("label_smoothing.rows", "label_smoothing.full", "label_smoothing.gradient"),
)
def smoothing_dropped(call: Call) -> Tensor:
    """label_smoothing is accepted and has no effect."""
    call.rows()
    return cross_entropy(call.but(label_smoothing=0.0))


@mutant(
    source="linkedin/Liger-Kernel#420",
    caught_by=(
        "label_smoothing.with_weight",
        "label_smoothing.with_weight_and_ignore_index",
    ),
)
def gradient_weighted_by_target(call: Call) -> Tensor:
    """Smoothed with weights, the gradient scales the whole row by its target's weight."""
    if call.weight is None or not call.label_smoothing or call.soft:
        return cross_entropy(call)
    rows = call.rows()
    assert rows.weight is not None
    own = rows.weight.detach()[rows.target].unsqueeze(-1)
    share = rows.distribution().detach()

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        return saved.upstream(grad).unsqueeze(-1) * own * (saved.probabilities - share)

    return by_hand(call, derivative)


@mutant(
    source="mindspore-lab/mindnlp#1633",
    caught_by=("stability.no_smoothing_of_minus_infinity", "stability.classes_at_minus_infinity"),
)
def zero_smoothing_times_infinity(call: Call) -> Tensor:
    """Without smoothing the smoothing term is computed as well, and 0 times infinity is NaN."""
    if call.label_smoothing or call.soft:
        return cross_entropy(call)
    rows = call.rows()
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    everywhere = -log_probabilities.sum(-1)
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities) + 0.0 * everywhere))


@mutant(
    source="research/divergences.md, pitfall 15",
    caught_by=("soft_target.with_smoothing", "soft_target.with_weight_and_smoothing"),
)
def probabilities_smoothed_twice(call: Call) -> Tensor:
    """Class probabilities are smoothed twice."""
    if not call.soft or not call.label_smoothing:
        return cross_entropy(call)
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(replace(rows, target=rows.distribution()))))


@mutant(
    source="research/divergences.md, pitfall 18",
    caught_by=("label_smoothing.rows", "label_smoothing.full"),
)
def divergence_for_loss(call: Call) -> Tensor:
    """Smoothed, the loss is the divergence from the target: less by the target's entropy."""
    if not call.label_smoothing or call.soft:
        return cross_entropy(call)
    rows = call.rows()
    entropy = spread(shares(rows), rows.distribution().log())
    return reduced(rows, kept(rows, row_losses(rows) - entropy))


@mutant(
    source="isinstance(label_smoothing, float)",
    caught_by=("label_smoothing.whole_number",),
)
def smoothing_by_type(call: Call) -> Tensor:
    """A label smoothing that is no float is taken for none."""
    given: object = call.label_smoothing
    smoothing = given if isinstance(given, float) else 0.0
    return cross_entropy(call.but(label_smoothing=smoothing))
