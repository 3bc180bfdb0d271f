"""A boolean mask of the target's shape: True counts (padded sequences)."""

from __future__ import annotations

from ..cases import any_reduction, mixed_upstream, option, vary
from ..classification import (
    all_masked,
    ignored,
    masked,
    nonfinite_ignored,
    several_rows,
    spatial,
    weighted,
)
from ..contract import rule
from ..judge import agrees, exact_zero, value_agrees
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ._families import CLASSES
from .ignore_index import _left_out

SOURCE = "padded sequences: masked positions are left out of loss, mean and gradient"


@rule(
    "must",
    cases=vary(several_rows, masked, any_reduction),
    source=SOURCE,
    needs=("mask",),
    families=CLASSES,
)
def rows(case: Case, call: Caller) -> Judgement:
    """Masked rows contribute nothing; mean divides by the rows that count."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, masked, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("mask", "gradient"),
    families=CLASSES,
)
def zero_gradient(case: Case, call: Caller) -> Judgement:
    """Masked rows get exactly zero gradient."""
    seen = call(case)
    yield from exact_zero("gradient of input", seen.grads.get("input"), _left_out(case))
    yield from agrees(seen)


@rule(
    "must",
    cases=vary(several_rows, weighted, masked, any_reduction),
    source=SOURCE,
    needs=("mask", "weight"),
    families=CLASSES,
)
def with_weight(case: Case, call: Caller) -> Judgement:
    """The weights of masked rows leave the mean's denominator with them."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, masked, ignored(-100, 1), any_reduction),
    source=SOURCE,
    needs=("mask", "ignore_index"),
    families=CLASSES,
)
def with_ignore_index(case: Case, call: Caller) -> Judgement:
    """A row counts only if it is neither masked nor ignored."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, masked, any_reduction),
    source=SOURCE,
    needs=("mask", "spatial"),
    families=CLASSES,
)
def positions(case: Case, call: Caller) -> Judgement:
    """Single positions of (N, C, d1, ...) are masked like rows."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, all_masked, option("reduction", "mean")),
    source=SOURCE,
    needs=("mask",),
    families=CLASSES,
    share=0.3,
)
def nothing_counts(case: Case, call: Caller) -> Judgement:
    """With everything masked the mean is NaN (or 0 where declared), the gradient zero."""
    yield Measured()  # any number but the one asked for would be outside
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, masked, nonfinite_ignored, any_reduction),
    source=SOURCE,
    needs=("mask",),
    families=CLASSES,
)
def nonfinite(case: Case, call: Caller) -> Judgement:
    """NaN or infinite logits in a masked row do not reach the loss: no multiplication by 0."""
    yield from value_agrees(call(case))
