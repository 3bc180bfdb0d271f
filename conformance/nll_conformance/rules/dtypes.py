"""Dtypes of targets, weights and results; autocast."""

from __future__ import annotations

import torch

from .. import shown
from ..cases import Draft, Draw, Variation, any_reduction, forward_only, unreduced, vary
from ..classification import IGNORED, high_target, ignored, several_rows, soft, weighted
from ..contract import rule
from ..errors import TargetRaised
from ..judge import agrees, holds, truth_of
from ..model import Case, Judgement, Measured, Observation
from ..observe import Caller
from ..together import byte_of_ignored, every_digit, high_byte
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
    soft(draft, draw)
    others = [d for d in ("float64", "float32") if d != draft.context.dtype]
    draft.change("target", dtype=draw.among(others))


def _right_or_raises(case: Case, call: Caller) -> Judgement:
    seen = call.attempt(case)
    if isinstance(seen, TargetRaised):
        yield Measured()
    else:
        yield from agrees(seen)


@rule(
    "must",
    cases=vary(_target_dtype("uint8", "int32", "int16", "int8"), any_reduction),
    source=RIGHT_OR_RAISES,
    families=CLASSES,
    shows=shown.RIGHT_OR_RAISES,
)
def narrow_targets(case: Case, call: Caller) -> Judgement:
    """Class indices in narrower integer types give the same result, or are refused."""
    yield from _right_or_raises(case, call)


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
    yield from _right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, _soft_dtype, any_reduction),
    source=RIGHT_OR_RAISES,
    needs=("soft_target",),
    share=0.6,
    families=CLASSES,
    shows=shown.RIGHT_OR_RAISES,
)
def soft_target_of_other_dtype(case: Case, call: Caller) -> Judgement:
    """Class probabilities of another floating dtype are used exactly, or refused."""
    yield from _right_or_raises(case, call)


@rule(
    "must",
    cases=vary(any_reduction, forward_only),
    source=SOURCE,
    share=0.5,
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
    cases=vary(any_reduction),
    source="linkedin/Liger-Kernel#1283, #305: dtypes that autocast makes clash",
    share=0.4,
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
    cases=vary(any_reduction),
    source="torch.amp: losses run in float32",
    share=0.4,
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
    grads: dict[str, torch.Tensor | None] = {}
    if case.upstream is not None and value.shape == case.upstream.shape:
        call.backward(value, call.upstream(case, value))
        grads = call.grads(tensors)
    return call.observation(case, value, grads, tensors)


@rule(
    "must",
    cases=vary(any_reduction),
    source="a loss's dtype follows from its inputs, not from a process-wide default",
    share=0.4,
    shows="""
        torch.set_default_dtype(torch.float64 if input.dtype != torch.float64 else torch.float32)
        loss = {call}
        {backward}
        assert loss.dtype in (input.dtype, torch.float32), loss.dtype
    """,
)
def default_dtype(case: Case, call: Caller) -> Judgement:
    """Another default dtype changes neither the loss nor its dtype."""
    usual = call(case).value.dtype
    before = torch.get_default_dtype()
    other = torch.float32 if case.dtype == "float64" else torch.float64
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
    shows=shown.RIGHT_OR_RAISES,
)
def high_bytes(case: Case, call: Caller) -> Judgement:
    """Targets of 128 and more in uint8 name their own class: none turns negative."""
    yield from _right_or_raises(case, call)


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
    yield from _right_or_raises(case, call)
