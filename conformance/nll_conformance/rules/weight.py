"""Class weights multiply the row losses and divide the mean."""

from __future__ import annotations

from ..cases import any_reduction, laid_out, mixed_upstream, option, vary
from ..classification import (
    losses_beyond_half,
    mostly_ones,
    negative_weight,
    no_weight,
    several_rows,
    spatial,
    spread_weights,
    square,
    unbatched,
    weighted,
    zero_weight,
)
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..together import one_row
from ._families import CLASSES

SOURCE = "torch.nn.CrossEntropyLoss: weight"
WEIGHT = ("weight",)


@rule(
    "must",
    cases=vary(several_rows, weighted, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
)
def rows(case: Case, call: Caller) -> Judgement:
    """Each row is scaled by its target's weight; the mean divides by the sum of those weights."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, weighted, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("weight", "gradient"),
    families=CLASSES,
)
def gradient(case: Case, call: Caller) -> Judgement:
    """The weight scales the gradient once, beside the upstream gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(square, weighted, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
)
def square_input(case: Case, call: Caller) -> Judgement:
    """Weights belong to classes, also where there are as many rows as classes."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, mostly_ones, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
    share=0.6,
)
def mostly_one(case: Case, call: Caller) -> Judgement:
    """One weight that is not one counts, whatever the first, the last and most of them are."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, zero_weight, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
)
def zero(case: Case, call: Caller) -> Judgement:
    """A class of weight zero costs nothing and counts nothing."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, no_weight, option("reduction", "mean")),
    source="mean = sum / total weight, 0/0 (pytorch#134431)",
    needs=WEIGHT,
    families=CLASSES,
    share=0.3,
)
def nothing_weighs(case: Case, call: Caller) -> Judgement:
    """Where the targets' weights are all zero, the mean is NaN and no number."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, negative_weight, any_reduction),
    source="mean = sum / total weight, without a condition on its sign (pytorch#31491)",
    needs=WEIGHT,
    families=CLASSES,
)
def negative(case: Case, call: Caller) -> Judgement:
    """Negative weights are multiplied and summed like any other."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, weighted, any_reduction),
    source=SOURCE,
    needs=("weight", "spatial"),
    families=CLASSES,
)
def spatial_rows(case: Case, call: Caller) -> Judgement:
    """For (N, C, d1, ...) the weight is per class, not per position or image."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        several_rows, weighted, laid_out("weight", "strided", "shifted", "expanded"), any_reduction
    ),
    source="strides are part of a tensor",
    needs=WEIGHT,
    families=CLASSES,
    share=0.6,
)
def strided(case: Case, call: Caller) -> Judgement:
    """A weight that is a strided or offset view is read by its strides."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, spread_weights, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
)
def wide_range(case: Case, call: Caller) -> Judgement:
    """Weights orders of magnitude apart, as inverse frequencies are, keep their ratios."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(unbatched, weighted, any_reduction),
    source=SOURCE,
    needs=("weight", "unbatched"),
    families=CLASSES,
    share=0.5,
)
def unbatched_row(case: Case, call: Caller) -> Judgement:
    """A single unbatched sample is weighted like a row: its weight cancels in the mean."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_row, weighted, any_reduction),
    source=SOURCE,
    needs=WEIGHT,
    families=CLASSES,
    share=0.5,
)
def single_row(case: Case, call: Caller) -> Judgement:
    """A batch of one is weighted like any other: its weight cancels in the mean, not in the sum."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(losses_beyond_half, option("reduction", "mean")),
    source=SOURCE,
    needs=("weight",),
    families=("cross_entropy",),
    dtypes=("float16",),
    share=0.3,
)
def rows_beyond_half(case: Case, call: Caller) -> Judgement:
    """A row's loss times its weight may be more than float16 holds where the mean is not."""
    yield from agrees(call(case))
