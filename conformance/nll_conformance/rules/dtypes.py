"""Dtypes of targets, weights and results; autocast."""

from __future__ import annotations

from dataclasses import replace

import torch

from .. import shown
from ..cases import Draft, Draw, Variation, any_reduction, forward_only, one_of, unreduced, vary
from ..classification import IGNORED, high_target, ignored, several_rows, smoothed, soft, weighted
from ..contract import rule
from ..errors import TargetRaised
from ..judge import agrees, holds, truth_of
from ..model import Case, Judgement, Measured, Observation
from ..observe import Caller
from ..refusal import right_or_raises
from ..together import any_call, any_option, byte_of_ignored, every_digit, high_byte, where_possible
from ._families import CLASSES, DIRECT

SOURCE = "torch.nn.CrossEntropyLoss"
RIGHT_OR_RAISES = "a result that is returned is right (optax a77d69c4, tensorflow/models#6641)"


def _target_dtype(*dtypes: str) -> Variation:
    def change(draft: Draft, draw: Draw) -> None:
        # Never as many rows as classes: there PyTorch takes an index of uint8 for a mask.
        draft.resize((draw.integer(2, 5),), draw.among((6, 100, 7, 120)))
        dtype = draw.among(dtypes)
        if draw.yes() and draft.can("ignore_index" if dtype == "uint8" else "ignore_minus_100"):
            ignored(255 if dtype == "uint8" else IGNORED)(draft, draw)
        draft.change("target", dtype=dtype, seed=draw.integer(0, 99))

    return change


def _weight_dtype(draft: Draft, draw: Draw) -> None:
    weighted(draft, draw)
    others = [d for d in ("float64", "float32", "bfloat16") if d != draft.context.dtype]
    # Few bits: their sum is exact also where it is kept in the weight's own dtype.
    draft.change("weight", regime="levels", scale=-3, offset=0.125, dtype=draw.among(others))


def _soft_dtype(draft: Draft, draw: Draw) -> None:
    others = [d for d in ("float64", "float32") if d != draft.context.dtype]
    _soft_of(draft, draw, draw.among(others))


def _narrower_soft(draft: Draft, draw: Draw) -> None:
    _soft_of(draft, draw, draw.among(("bfloat16", "float16")))


def _soft_of(draft: Draft, draw: Draw, dtype: str) -> None:
    soft(draft, draw)  # multiples of 1/256, which every dtype holds
    # PyTorch smooths probabilities in their own dtype, which a target's own smoothing asks for.
    if not draft.context.fixed.get("label_smoothing"):
        draft.change("target", dtype=dtype)


def _byte_target(draft: Draft, draw: Draw) -> None:
    draft.resize((draw.integer(2, 5),), draw.among((7, 6, 10)))
    draft.change("target", dtype="uint8", seed=draw.integer(0, 99))


def _bytes_as_many_as_classes(draft: Draft, draw: Draw) -> None:
    count = draw.among((3, 5, 2, 8))
    draft.resize((count,), count)
    draft.change("target", dtype="uint8", seed=draw.integer(0, 99))


@rule(
    "must",
    cases=vary(_target_dtype("uint8", "int32", "int16", "int8"), any_reduction),
    source=RIGHT_OR_RAISES,
    families=CLASSES,
    shows=shown.RIGHT_OR_RAISES,
)
def narrow_targets(case: Case, call: Caller) -> Judgement:
    """Class indices in narrower integer types give the same result, or are refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, _weight_dtype, any_reduction),
    source=RIGHT_OR_RAISES,
    needs=("weight",),
    share=0.6,
    families=CLASSES,
    shows=shown.RIGHT_OR_RAISES,
)
def weight_of_other_dtype(case: Case, call: Caller) -> Judgement:
    """A weight of another floating dtype than the input's is used exactly, or refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, _soft_dtype, any_reduction),
    source=RIGHT_OR_RAISES,
    needs=("soft_target",),
    share=0.6,
    families=CLASSES,
    revision=2,
    shows=shown.RIGHT_OR_RAISES,
)
def soft_target_of_other_dtype(case: Case, call: Caller) -> Judgement:
    """Class probabilities of another floating dtype are used exactly, or refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, _narrower_soft, any_reduction),
    source=RIGHT_OR_RAISES,
    needs=("soft_target",),
    share=0.3,
    families=CLASSES,
    dtypes=("float32", "float64"),
    revision=2,
    shows="""
        try:
            loss = {call}
            {backward}
        except Exception:
            raise SystemExit(0)  # refused, which is right
        assert loss.dtype == input.dtype, loss.dtype
    """,
)
def narrower_soft_target(case: Case, call: Caller) -> Judgement:
    """Class probabilities of 16 bits leave the loss in the input's dtype, or are refused.

    Its value is not judged: PyTorch smooths such probabilities in their own dtype.
    """
    seen = call.attempt(case)
    if isinstance(seen, TargetRaised):
        yield Measured()
        return
    own = seen.arguments["input"].dtype
    yield from holds(seen.value.dtype == own, f"the loss is {seen.value.dtype}, the input {own}")


@rule(
    "should",
    cases=vary(
        one_of(where_possible(("weight", weighted)), any_reduction), _bytes_as_many_as_classes
    ),
    source=RIGHT_OR_RAISES + "; an index of uint8 is a mask to torch",
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.5,
    shows=shown.RIGHT_OR_RAISES,
)
def bytes_are_no_mask(case: Case, call: Caller) -> Judgement:
    """As many targets in uint8 as classes are indices, of weights too, or are refused."""
    yield from right_or_raises(case, call)


@rule(
    "should",
    cases=vary(_byte_target, smoothed(), any_reduction),
    source=SOURCE + ": targets that it takes, it takes with smoothing",
    needs=("label_smoothing",),
    families=("cross_entropy",),
    share=0.3,
)
def bytes_with_smoothing(case: Case, call: Caller) -> Judgement:
    """Targets in uint8, where they are taken, are taken with label_smoothing as well."""
    options = tuple(item for item in case.options if item[0] != "label_smoothing")
    if isinstance(call.attempt(replace(case, options=options)), TargetRaised):
        yield Measured()
    else:
        yield from agrees(call(case))


@rule(
    "should",
    cases=vary(_byte_target, weighted, any_reduction),
    source=SOURCE + ": targets that it takes, it takes with weights",
    needs=("weight",),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.3,
)
def bytes_with_weight(case: Case, call: Caller) -> Judgement:
    """Targets in uint8, where they are taken, are taken with weights as well."""
    bare = replace(case, recipe=tuple(item for item in case.recipe if item[0] != "weight"))
    if isinstance(call.attempt(bare), TargetRaised):
        yield Measured()
    else:
        yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_call, any_reduction, forward_only),
    source=SOURCE,
    share=0.9,
    shows="""
        loss = {call}
        assert (loss.dtype, loss.device) == ({want}, input.device), (loss.dtype, loss.device)
    """,
)
def output(case: Case, call: Caller) -> Judgement:
    """The loss has the input's dtype (or float32 for 16-bit input, if always) and its device."""
    seen = call(case)
    own = seen.arguments["input"]
    half = own.dtype in (torch.float16, torch.bfloat16)
    declared = seen.divergences.get("half_output", "input") if half else "input"
    want = own.dtype if declared == "input" else getattr(torch, declared)
    yield from holds(
        seen.value.dtype == want and seen.value.device == own.device,
        f"the loss is {seen.value.dtype} on {seen.value.device}, expected {want} on {own.device}",
        want=str(want),
    )


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source="linkedin/Liger-Kernel#1283, #305: dtypes that autocast makes clash",
    share=0.6,
    families=DIRECT,
    revision=2,
    shows=shown.AUTOCAST,
)
def autocast(case: Case, call: Caller) -> Judgement:
    """Under autocast the loss works, forward and backward, and nothing becomes infinite or NaN."""
    seen = _under_autocast(case, call)
    if not truth_of(seen).value.value.isfinite().all():  # everything may be ignored
        yield Measured(judged=False)
        return
    finite = all(
        bool(t.isfinite().all()) for t in (seen.value, *seen.grads.values()) if t is not None
    )
    yield from holds(finite, "the loss or a gradient is not finite under autocast")


@rule(
    "should",
    cases=vary(any_call, any_reduction),
    source="torch.amp: losses run in float32",
    share=0.6,
    families=DIRECT,
    shows=shown.AUTOCAST,
)
def autocast_in_float32(case: Case, call: Caller) -> Judgement:
    """Under autocast the loss is not rounded to 16 bits on the way.

    Autocast rounds what goes through a product (matmul, einsum) unless it is switched off.
    """
    yield from agrees(_under_autocast(case, call))


def _under_autocast(case: Case, call: Caller) -> Observation:
    tensors = call.tensors(case)
    # float16 in a region of bfloat16 is no usual thing: torch itself cannot stack it there
    half = torch.float16 if case.dtype == "float16" else torch.bfloat16
    with torch.autocast(case.device, dtype=half):
        value = call.forward(case, tensors)
    grads = call.flow_back(case, tensors, value)
    return call.observation(case, value, grads, tensors)


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source="a loss's dtype follows from its inputs, not from a process-wide default",
    share=0.6,
    shows="""
        torch.set_default_dtype(torch.float64 if input.dtype != torch.float64 else torch.float32)
        loss = {call}
        {backward}
        assert loss.dtype in (input.dtype, torch.float32), loss.dtype
    """,
)
def default_dtype(case: Case, call: Caller) -> Judgement:
    """Another default dtype changes neither the loss nor its dtype."""
    other = torch.float32 if case.dtype == "float64" else torch.float64
    yield from _under_default(other, case, call)


@rule(
    "must",
    cases=vary(any_option, any_reduction),
    source="a loss's dtype follows from its inputs, not from a process-wide default",
    share=0.4,
    shows="""
        torch.set_default_dtype(torch.bfloat16)
        loss = {call}
        {backward}
        assert loss.dtype in (input.dtype, torch.float32), loss.dtype
    """,
)
def narrow_default_dtype(case: Case, call: Caller) -> Judgement:
    """A default dtype of 16 bits rounds nothing that the loss keeps on the way."""
    yield from _under_default(torch.bfloat16, case, call)


def _under_default(other: torch.dtype, case: Case, call: Caller) -> Judgement:
    usual = call(case).value.dtype
    before = torch.get_default_dtype()
    torch.set_default_dtype(other)
    try:
        seen = call(case)
    finally:
        torch.set_default_dtype(before)
    yield from holds(
        seen.value.dtype == usual,
        f"the loss is {seen.value.dtype} under the default dtype {other}, else {usual}",
    )
    yield from agrees(seen)


@rule("must", cases=vary(every_digit, any_reduction), source="IEEE 754: one rounding an operation")
def every_digit_counts(case: Case, call: Caller) -> Judgement:
    """All digits of each tensor count: weights, targets and what flows back are not narrowed."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(high_target, unreduced),
    source=RIGHT_OR_RAISES,
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.5,
)
def high_targets(case: Case, call: Caller) -> Judgement:
    """Class indices above 127, 255, 2048, 32767, 65535 name their own class: none is narrowed."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(high_byte, unreduced),
    source=RIGHT_OR_RAISES,
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.6,
    revision=2,
    shows=shown.RIGHT_OR_RAISES,
)
def high_bytes(case: Case, call: Caller) -> Judgement:
    """Targets in uint8 name their own class: none turns negative, none is one of 256 and more."""
    yield from right_or_raises(case, call)


@rule(
    "should",
    cases=vary(byte_of_ignored, unreduced),
    source="ignore_index narrowed to the labels' dtype (optax a77d69c4)",
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.3,
    shows=shown.RIGHT_OR_RAISES,
)
def byte_like_ignore_index(case: Case, call: Caller) -> Judgement:
    """A class that equals ignore_index only modulo 256 is not ignored in labels of uint8."""
    yield from right_or_raises(case, call)
