"""Sentences about the shift: which label scores which position, and what is counted."""

from __future__ import annotations

from dataclasses import replace

import torch

from ... import shown
from ...cases import forward_only, laid_out, one_of, scalar_upstream, vary
from ...classification import ignored
from ...contract import rule
from ...errors import TargetRaised
from ...judge import agrees, exact_zero, gradients_agree, holds, identical, value_agrees
from ...model import Case, Judgement, Measured
from ...observe import Caller
from ...recipes import build
from .variations import (
    cube,
    first_labels,
    impossible_first_labels,
    long_sequences,
    nonfinite_last,
    one_position,
    packed,
    padded,
    padded_whole,
    sequences,
    sequences_that_count,
    shifted_already,
    telling_labels,
    two_positions,
)

SOURCE = "transformers: ForCausalLMLoss"
GRADIENT = ("gradient",)
PADDED = ("ignore_minus_100",)


@rule("must", cases=vary(one_of(telling_labels, sequences, two_positions)), source=SOURCE)
def next_label(case: Case, call: Caller) -> Judgement:
    """Position t is scored against label t + 1 of its own sequence: shifted once, not twice."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(sequences, two_positions, long_sequences), scalar_upstream),
    source="huggingface/transformers#47394: flattening leaked the next sequence's label",
    needs=GRADIENT,
)
def last_position(case: Case, call: Caller) -> Judgement:
    """The last position of each sequence has no label and gets exactly zero gradient."""
    seen = call(case)
    last = torch.zeros(seen.arguments["input"].shape, dtype=torch.bool)
    last[:, -1] = True
    yield from exact_zero("gradient of input", seen.grads.get("input"), last)
    yield from gradients_agree(seen)


@rule(
    "must",
    cases=vary(sequences_that_count),
    source="a sequence is scored by itself",
    share=0.6,
    revision=2,
    shows="""
        loss = {call}
        {backward}
        first, input.grad = input.grad, None
        target[0] = (target[0] + 1) % input.shape[-1]
        loss = {call}
        {backward}
        torch.testing.assert_close(input.grad[1:], first[1:], rtol=0, atol=0, equal_nan=True)
    """,
)
def no_leak(case: Case, call: Caller) -> Judgement:
    """A label of one sequence changes no other sequence's gradient."""
    seen, tensors = call(case), call.tensors(case)
    classes = tensors["input"].shape[-1]
    tensors["target"][0] = (tensors["target"][0] + 1) % classes
    value = call.forward(case, tensors)
    if case.upstream is None:
        yield Measured()
        return
    call.backward(value, call.upstream(case, value))
    grads = (seen.grads["input"], tensors["input"].grad)
    first, second = (None if grad is None else grad[1:] for grad in grads)
    yield from identical("the gradient of the other sequences", second, first)


@rule("must", cases=vary(sequences, first_labels), source=SOURCE, needs=PADDED)
def count_after_shift(case: Case, call: Caller) -> Judgement:
    """The mean divides by the scored labels: counted after the shift, not before."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sequences),
    source="the first label follows nothing",
    share=0.6,
    shows="""
        target[:, 0] = (target[:, 0] + 1) % input.shape[-1]
        loss = {call}
    """,
)
def first_label(case: Case, call: Caller) -> Judgement:
    """The first label of a sequence is neither scored nor counted, whichever class it is."""
    tensors = call.tensors(case)
    tensors["target"][:, 0] = tensors["target"][:, 0].add(1) % tensors["input"].shape[-1]
    value = call.forward(case, tensors)
    yield from value_agrees(call.observation(replace(case, upstream=None), value, {}))


@rule(
    "should",
    cases=vary(sequences, impossible_first_labels),
    source="the first label follows nothing",
    share=0.4,
)
def impossible_first_label(case: Case, call: Caller) -> Judgement:
    """A first label that is no class does no harm: it is not looked at."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(sequences, long_sequences), padded, scalar_upstream),
    source="huggingface/trl#1625: padding was scored",
    needs=PADDED,
)
def padding(case: Case, call: Caller) -> Judgement:
    """Padding at either end is neither scored nor counted; all labels weigh the same.

    The mean is over labels, not over sequences of unequal length.
    """
    yield from agrees(call(case))


@rule("must", cases=vary(sequences, padded_whole), source=SOURCE, needs=PADDED, share=0.6)
def padded_sequence(case: Case, call: Caller) -> Judgement:
    """A sequence that is padding throughout changes nothing for the others."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(sequences, long_sequences), packed),
    source="packed documents: the boundary's label is ignored",
    needs=PADDED,
)
def packed_documents(case: Case, call: Caller) -> Judgement:
    """An ignored label inside leaves out the position before it, not the one it stands at."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sequences, ignored(0, 1, -1, 5, 255)),
    source=SOURCE,
    needs=("ignore_index",),
)
def other_ignore_index(case: Case, call: Caller) -> Judgement:
    """With another ignore index the last position stays out, and -100 has no meaning of its own."""
    yield from agrees(call(case))


@rule("must", cases=vary(one_position), source="nothing follows a single label", share=0.5)
def single_position(case: Case, call: Caller) -> Judgement:
    """T = 1 leaves nothing to score: NaN (or 0 where declared), and a gradient of zero."""
    yield Measured()  # any number but the one asked for would be outside
    yield from agrees(call(case))


@rule("must", cases=vary(long_sequences), source=SOURCE)
def lengths(case: Case, call: Caller) -> Judgement:
    """Sequences of any length and number are scored to their end."""
    yield from agrees(call(case))


@rule("must", cases=vary(cube), source=SOURCE)
def cubic(case: Case, call: Caller) -> Judgement:
    """Sequences, positions and classes are told apart by position, not by size."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sequences, nonfinite_last, forward_only),
    source="the logits behind the last label are not used",
    share=0.5,
)
def nonfinite_last_position(case: Case, call: Caller) -> Judgement:
    """NaN or infinite logits in a last position do not reach the loss."""
    yield from value_agrees(call(case))


@rule(
    "should",
    cases=vary(sequences, nonfinite_last),
    source="pytorch/pytorch#11551 where the last label is made an ignored one",
    needs=GRADIENT,
    share=0.5,
)
def nonfinite_last_gradient(case: Case, call: Caller) -> Judgement:
    """NaN or infinite logits in a last position leave every gradient as it is."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(
        sequences,
        one_of(
            laid_out("input", "transposed", "padded", "strided", "shifted"),
            laid_out("target", "transposed", "padded", "strided", "expanded"),
        ),
    ),
    source="strides and offset are part of a tensor (slices of longer sequences)",
)
def layouts(case: Case, call: Caller) -> Judgement:
    """Logits and labels may be slices of longer sequences, transposed, or expanded."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sequences),
    source="torch.autograd",
    needs=GRADIENT,
    share=0.4,
    shows="""
        before = target.clone()
        loss = {call}
        {backward}
        torch.testing.assert_close(target, before)
        torch.testing.assert_close({call}, loss, rtol=0, atol=0, equal_nan=True)
    """,
)
def labels_replaced(case: Case, call: Caller) -> Judgement:
    """Labels are shifted in a copy: the caller's are the same after the call, also expanded."""
    tensors, before = call.tensors(case), case.build()
    value = call.forward(case, tensors)
    call.backward(value, call.upstream(case, value))
    yield from identical("the labels after the call", tensors["target"], before["target"])
    again = call.forward(case, tensors)
    yield from identical("the loss of a second call", again, value)
    assert case.upstream is not None
    assert build(case.upstream).shape == value.shape


@rule(
    "should",
    cases=vary(sequences, shifted_already),
    source=SOURCE,
    share=0.4,
    shows=shown.RAISES,
)
def length_mismatch(case: Case, call: Caller) -> Judgement:
    """Labels of another length than the logits raise: they were shifted before, or cut."""
    raised = isinstance(call.attempt(case), TargetRaised)
    yield from holds(raised, "labels of another length than the logits were accepted")
