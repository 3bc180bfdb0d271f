"""Causal cross entropy: the shift, the padding, and what the mean divides by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..losses.rows import widened
from ._base import kept, reduced, replaced, row_losses
from ._memory import read_as_contiguous
from ._sequences import (
    Causal,
    blank_scored,
    causal,
    causal_mutant,
    losses,
    mean,
    rows_of,
    scored,
)

TRAINERS = "training loops written by hand"


@causal_mutant(
    source="huggingface/transformers#17960 (fixed by #17987), #27161",
    caught_by=("causal_cross_entropy.next_label",),
)
def not_shifted(call: Causal) -> Tensor:
    """Logits are scored against the label at their own position."""
    call.shifted()
    return mean(rows_of(call, call.input[:, :-1], call.target[:, :-1]))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.other_ignore_index",))
def default_ignored_in_single_sequences(call: Causal) -> Tensor:
    """A batch of one sequence takes a path that ignores -100, whatever was asked for."""
    if len(call.input) != 1:
        return causal(call)
    logits, labels = call.shifted()
    blank = torch.where(labels == call.ignore_index, 0, labels)
    return mean(rows_of(call.but(ignore_index=-100), logits, blank))


@causal_mutant(
    source="huggingface/transformers#47394 (fixed by #47395), #46784",
    caught_by=("causal_cross_entropy.next_label", "causal_cross_entropy.last_position"),
)
def shifted_twice(call: Causal) -> Tensor:
    """Labels are shifted, flattened and shifted again: the next sequence's leak in."""
    logits, labels = call.shifted()
    flat, following = logits.flatten(0, 1), labels.flatten()
    rows = rows_of(call, flat[:-1].unsqueeze(0), following[1:].unsqueeze(0))
    return mean(rows)


@causal_mutant(
    source="huggingface/transformers#47394",
    caught_by=("causal_cross_entropy.last_position", "causal_cross_entropy.next_label"),
)
def flattened_before_the_shift(call: Causal) -> Tensor:
    """Sequences are joined before the shift: a last position is scored against the next first."""
    call.shifted()
    flat = call.input.flatten(0, 1)[:-1], call.target.flatten()[1:]
    return mean(rows_of(call, *(tensor.unsqueeze(0) for tensor in flat)))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.no_leak",))
def rolled_over_the_batch(call: Causal) -> Tensor:
    """Labels are rolled through the whole batch: its first one follows its last position."""
    call.shifted()
    labels = call.target.flatten().roll(-1).view(call.target.shape)
    return mean(rows_of(call, call.input, labels))


@causal_mutant(
    source="huggingface/transformers#46204", caught_by=("causal_cross_entropy.count_after_shift",)
)
def counted_before_the_shift(call: Causal) -> Tensor:
    """The mean divides by the labels counted before the shift, the first ones less."""
    rows = call.rows()
    return mean(rows, scored(call, call.target) - len(call.target))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.first_label",))
def rolled_over_the_sequence(call: Causal) -> Tensor:
    """Labels are rolled within their sequence: its first one follows its last position."""
    call.shifted()
    return mean(rows_of(call, call.input, call.target.roll(-1, 1)))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.impossible_first_label",))
def all_labels_range_checked(call: Causal) -> Tensor:
    """Every label must be a class or ignored, the first ones of sequences too."""
    valid = (call.target >= 0) & (call.target < call.input.shape[-1])
    if not bool((valid | (call.target == call.ignore_index)).all()):
        raise IndexError("a label is no class")
    return causal(call)


@causal_mutant(source="huggingface/trl#1625", caught_by=("causal_cross_entropy.padding",))
def padding_scored(call: Causal) -> Tensor:
    """Padding is scored as class 0."""
    return causal(call.but(target=blank_scored(call)))


@causal_mutant(
    source="research/divergences.md, pitfall 1", caught_by=("causal_cross_entropy.padding",)
)
def mean_of_sequence_means(call: Causal) -> Tensor:
    """The mean is that of each sequence's mean, however long they are."""
    rows = call.rows()
    counts = rows.kept.sum(1)
    if not bool((counts > 0).any()):
        return mean(rows)
    means = losses(rows).sum(1) / counts.clamp(min=1)
    return (means.sum() / (counts > 0).sum()).to(rows.dtype)


@causal_mutant(
    source="linkedin/Liger-Kernel#153 (of chunks)",
    caught_by=("causal_cross_entropy.padded_sequence",),
)
def padded_sequence_is_nan(call: Causal) -> Tensor:
    """Each sequence is divided by its own count before it is weighed with it: 0/0 of padding."""
    rows = call.rows()
    counts = rows.kept.sum(1)
    means = losses(rows).sum(1) / counts
    return (means * counts / counts.sum()).sum().to(rows.dtype)


@causal_mutant(
    source="unslothai/unsloth-zoo#1066", caught_by=("causal_cross_entropy.packed_documents",)
)
def boundaries_subtracted_twice(call: Causal) -> Tensor:
    """Boundaries of packed documents, ignored already, are taken off the count once more."""
    rows = call.rows()
    ignored = ~rows.kept
    before = rows.kept.cumsum(1) > 0
    after = rows.kept.flip(1).cumsum(1).flip(1) > 0
    boundaries = (ignored & before & after).sum()
    return mean(rows, rows.kept.sum() - boundaries)


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.other_ignore_index",))
def last_label_always_minus_100(call: Causal) -> Tensor:
    """Labels are shifted in place of the logits; the last one becomes -100, ignored or not."""
    call.shifted()
    labels = functional.pad(call.target, (0, 1), value=-100)[:, 1:]
    return mean(rows_of(call, call.input, labels))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.single_position",))
def single_position_refused(call: Causal) -> Tensor:
    """A sequence of one label is refused, as too short to be shifted."""
    if call.target.shape[1] < 2:
        raise ValueError("nothing to predict")
    return causal(call)


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.lengths",))
def cut_at_256(call: Causal) -> Tensor:
    """Positions from the 256th on are not scored."""
    call.shifted()
    return causal(call.but(input=call.input[:, :256], target=call.target[:, :256]))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.cubic",))
def time_first_if_square(call: Causal) -> Tensor:
    """As many sequences as positions: the first dimension is taken for time."""
    if call.target.shape[0] != call.target.shape[-1]:
        return causal(call)
    return causal(call.but(input=call.input.transpose(0, 1), target=call.target.t()))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.cubic",))
def classes_in_dim_one_if_equal(call: Causal) -> Tensor:
    """As many positions as classes: logits are taken for (B, V, T), as images have them."""
    if call.input.shape[1] != call.input.shape[2]:
        return causal(call)
    return causal(call.but(input=call.input.transpose(1, 2)))


@causal_mutant(
    source="NVIDIA-NeMo/Megatron-Bridge#3117",
    caught_by=("causal_cross_entropy.nonfinite_last_position",),
)
def last_position_multiplied_by_zero(call: Causal) -> Tensor:
    """All positions are scored, the last times 0, which NaN survives."""
    rows = call.rows()
    last = widened(call.input[:, -1:]).log_softmax(-1).sum() * 0.0
    return mean(rows) + last.to(rows.dtype)


@causal_mutant(
    source="pytorch/pytorch#11551", caught_by=("causal_cross_entropy.nonfinite_last_gradient",)
)
def last_position_ignored_afterwards(call: Causal) -> Tensor:
    """The last position is taken out behind the softmax: 0 times NaN in backward."""
    rows = call.rows()
    last = widened(call.input[:, -1:]).log_softmax(-1)
    nothing = torch.where(torch.zeros_like(last, dtype=torch.bool), last, 0.0).sum()
    return mean(rows) + nothing.to(rows.dtype)


@causal_mutant(
    source="fla-org/flash-linear-attention@0fd3c681",
    caught_by=("causal_cross_entropy.layouts",),
)
def labels_read_as_contiguous(call: Causal) -> Tensor:
    """Labels are read as if they were contiguous."""
    return causal(call.but(target=read_as_contiguous(call.target)))


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.labels_replaced",))
def labels_shifted_in_place(call: Causal) -> Tensor:
    """The caller's labels are moved one ahead, the last of each sequence becomes -100."""
    loss = causal(call)
    with torch.no_grad():
        moved = functional.pad(call.target, (0, 1), value=call.ignore_index)[:, 1:]
        if call.target.shape[1] > 1 and call.target.stride(0):
            call.target.copy_(moved)
    return loss


@causal_mutant(source=TRAINERS, caught_by=("causal_cross_entropy.length_mismatch",))
def shorter_of_both(call: Causal) -> Tensor:
    """Of logits and labels of different length the longer is cut."""
    length = min(call.input.shape[1], call.target.shape[-1])
    return causal(call.but(input=call.input[:, :length], target=call.target[:, :length]))


@causal_mutant(
    source="linkedin/Liger-Kernel#1329 (of a cross entropy)", caught_by=("gradients.confident",)
)
def probabilities_in_bfloat16(call: Causal) -> Tensor:
    """Backward has the probabilities in bfloat16."""
    rows = call.rows()
    rounded = rows.logits.detach().log_softmax(-1).exp().bfloat16().to(rows.logits.dtype)
    target = rows.at_target(rows.logits).squeeze(-1)
    through = (rounded * rows.logits).sum(-1) - target
    values = replaced(through, row_losses(rows).detach())
    return reduced(rows, kept(rows, values))
