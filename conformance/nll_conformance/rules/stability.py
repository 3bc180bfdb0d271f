"""Numbers that a naive formula loses: overflow, underflow, cancellation, saturation."""

from __future__ import annotations

from ..cases import all_of, any_reduction, forward_only, one_of, option, unreduced, vary
from ..contract import rule
from ..judge import agrees, holds, truth_of, value_agrees
from ..magnitudes import (
    COMMON_OFFSETS,
    block_maximum,
    excluded_row,
    excluded_target,
    far_below,
    float64_logits,
    huge_logits,
    lowest_classes,
    masked_blocks,
    masked_classes,
    nan_row,
    near_uniform,
    ramped,
    wrong_target,
)
from ..model import Case, Judgement
from ..observe import Caller
from ..picked_cases import unknown_target
from ..refusal import right_or_raises
from ..together import huge_images, masked_images
from ._families import GIVEN_LOGITS, LOGITS

SOURCE = "log-sum-exp with the maximum taken out (Blanchard, Higham & Higham 2021)"


@rule("must", cases=vary(wrong_target, unreduced), source=SOURCE, families=LOGITS)
def wrong_target_is_linear(case: Case, call: Caller) -> Judgement:
    """The loss of a target far below the maximum grows with the gap; nothing clamps it."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(all_of(huge_logits, unreduced), all_of(huge_images, any_reduction))),
    source=SOURCE,
    families=LOGITS,
)
def huge(case: Case, call: Caller) -> Judgement:
    """Logits of any magnitude and sign give a finite loss and gradient: exp must not overflow."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(float64_logits, unreduced),
    source=SOURCE,
    families=LOGITS,
    dtypes=("float64",),
    share=0.4,
)
def beyond_float32(case: Case, call: Caller) -> Judgement:
    """In float64 logits may be larger than float32 can tell apart, or hold."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(*COMMON_OFFSETS), unreduced),
    source=SOURCE,
    families=LOGITS,
)
def common_offset(case: Case, call: Caller) -> Judgement:
    """A common offset of all logits cancels."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(far_below, unreduced),
    source="a running maximum that starts at a finite number (flashinfer-ai/flashinfer#4267)",
    families=GIVEN_LOGITS,
    share=0.5,
    revision=2,
    shows="""
        loss = {call}
        {backward}
        found = [loss, *(tensor.grad for tensor in [{names}] if tensor.grad is not None)]
        assert all(tensor.isfinite().all() for tensor in found), "not finite"
    """,
)
def far_below_zero(case: Case, call: Caller) -> Judgement:
    """Rows whose logits are all far below zero have a finite loss, and gradient."""
    seen = call(case)
    yield from agrees(seen)
    if not truth_of(seen).value.value.isfinite().all():  # the target's own ignore_index meets all
        return
    for what, tensor in (("loss", seen.value), *seen.grads.items()):
        if tensor is not None:
            yield from holds(bool(tensor.isfinite().all()), f"the {what} is not finite")


@rule("must", cases=vary(ramped, unreduced), source=SOURCE, families=LOGITS)
def ordered_classes(case: Case, call: Caller) -> Judgement:
    """Ascending or descending logits are summed right: a running maximum is rescaled."""
    yield from agrees(call(case))


@rule("must", cases=vary(block_maximum, unreduced), source=SOURCE, families=LOGITS)
def maximum_anywhere(case: Case, call: Caller) -> Judgement:
    """The maximum may sit in the first, a middle or the last block."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(near_uniform(2049, 257, 4097, 32000, 513, 70000), unreduced),
    source="accumulation in at least float32 (pytorch/executorch#20090)",
    families=LOGITS,
)
def many_equal_classes(case: Case, call: Caller) -> Judgement:
    """The sum over thousands of equal classes is not kept in 16 bits, where it saturates."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(all_of(masked_classes, unreduced), all_of(masked_images, any_reduction))),
    source="torch.nn.functional.cross_entropy: a class at -inf has probability 0",
    families=GIVEN_LOGITS,
)
def classes_at_minus_infinity(case: Case, call: Caller) -> Judgement:
    """Other classes at -inf, single or whole blocks of them, have probability and gradient 0."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            masked_blocks(300),
            masked_blocks(40000),
            masked_blocks(2100),
            masked_blocks(2100, leading=False),
            masked_blocks(8300),
            masked_blocks(75000),
        ),
        unreduced,
    ),
    source="Dao-AILab/flash-attention#1930: NaN where the first block is -inf throughout",
    families=GIVEN_LOGITS,
    share=0.6,
)
def blocks_at_minus_infinity(case: Case, call: Caller) -> Judgement:
    """Thousands of classes at -inf, the first blocks of any kernel, have probability 0."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(masked_classes, option("label_smoothing", 0.0), unreduced, forward_only),
    source="torch.nn.functional.cross_entropy: a class at -inf has probability 0",
    families=GIVEN_LOGITS,
    needs=("label_smoothing",),
    share=0.5,
)
def no_smoothing_of_minus_infinity(case: Case, call: Caller) -> Judgement:
    """Without label smoothing classes at -inf leave the loss finite: 0 * inf is not computed."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(excluded_row, any_reduction, forward_only),
    source="IEEE 754: a sum with an infinite term is infinite",
    families=("cross_entropy", "vocab_parallel_cross_entropy"),
    share=0.4,
)
def infinite_row(case: Case, call: Caller) -> Judgement:
    """A row whose target is impossible makes sum and mean infinite, not NaN."""
    if case.option("label_smoothing", 0.0) == 1.0:
        return  # nothing of what the target alone costs: 0 times infinity
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(excluded_target, unreduced, forward_only),
    source="-log 0 = inf",
    families=GIVEN_LOGITS,
    share=0.5,
)
def impossible_target(case: Case, call: Caller) -> Judgement:
    """A target whose own logit is -inf has an infinite loss, not a clamped one and not NaN."""
    if case.option("label_smoothing", 0.0) == 1.0:
        return  # nothing of what the target alone costs: 0 times infinity
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(lowest_classes, unreduced),
    source="masking with finfo.min or -1e9 is common practice",
    families=("cross_entropy",),
    share=0.7,
)
def classes_at_lowest(case: Case, call: Caller) -> Judgement:
    """Other classes at the dtype's lowest number, or far below, have probability 0."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(nan_row, any_reduction, forward_only),
    source="IEEE 754: NaN propagates; a diverged model must be seen",
    families=("cross_entropy",),
    share=0.5,
)
def nan_shows(case: Case, call: Caller) -> Judgement:
    """A NaN among a counted row's logits makes its loss NaN, and what is reduced from it."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(unknown_target, any_reduction, forward_only),
    source="IEEE 754: NaN propagates; a diverged model must be seen",
    families=("nll", "prob_nll"),
    share=0.4,
)
def nan_at_target(case: Case, call: Caller) -> Judgement:
    """A NaN at a counted row's target makes its loss NaN, or is refused."""
    yield from right_or_raises(case, call)
