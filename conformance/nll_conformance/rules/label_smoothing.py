"""The target distribution is (1 - eps) onehot + eps / C."""

from __future__ import annotations

from .. import shown
from ..cases import any_reduction, mixed_upstream, one_of, vary
from ..classification import (
    heavy_class,
    ignored,
    negative_weight,
    one_class,
    several_rows,
    smoothed,
    spatial,
    unbatched,
    weighted,
    zero_weight,
)
from ..contract import rule
from ..judge import agrees
from ..magnitudes import (
    COMMON_OFFSETS,
    huge_logits,
)
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..refusal import right_or_raises
from ._families import CLASSES

SOURCE = "torch.nn.CrossEntropyLoss: label_smoothing (Szegedy et al. 2015)"
SMOOTH = ("label_smoothing",)


@rule(
    "must",
    cases=vary(several_rows, smoothed(0.1, 0.5, 0.9, 0.3, 2.0**-10), any_reduction),
    source=SOURCE,
    needs=SMOOTH,
    families=CLASSES,
)
def rows(case: Case, call: Caller) -> Judgement:
    """The smoothed loss spreads eps over all C classes, the target's included."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, smoothed(1.0), any_reduction),
    source="label_smoothing is in [0, 1]",
    needs=SMOOTH,
    families=CLASSES,
    share=0.4,
)
def full(case: Case, call: Caller) -> Judgement:
    """label_smoothing=1.0 is legal and leaves the uniform distribution alone."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, smoothed(1), any_reduction),
    source="PEP 484: an int is acceptable where a float is expected",
    needs=SMOOTH,
    families=CLASSES,
    share=0.2,
    shows=shown.RIGHT_OR_RAISES,
)
def whole_number(case: Case, call: Caller) -> Judgement:
    """label_smoothing=1 means 1.0, or is refused; it is not overlooked for being an int."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, smoothed(), any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("label_smoothing", "gradient"),
    families=CLASSES,
)
def gradient(case: Case, call: Caller) -> Judgement:
    """The gradient is p - ((1 - eps) onehot + eps / C), scaled by what flows back."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        several_rows,
        one_of(weighted, zero_weight, negative_weight),
        smoothed(0.1, 0.5, 1.0),
        any_reduction,
    ),
    source="torch.nn.CrossEntropyLoss; the smoothing term is weighted per class (pytorch#104776)",
    needs=("label_smoothing", "weight"),
    families=CLASSES,
)
def with_weight(case: Case, call: Caller) -> Judgement:
    """With weights both terms are weighted, by class, and share one denominator."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored(-100, -1, 255, 1), smoothed(0.1, 1.0, 0.5), any_reduction),
    source=SOURCE,
    needs=("label_smoothing", "ignore_index"),
    families=CLASSES,
)
def with_ignore_index(case: Case, call: Caller) -> Judgement:
    """Ignored rows contribute to no term of the smoothed loss."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        several_rows, weighted, ignored(-100, 255, -1), smoothed(0.1, 0.5, 1.0), any_reduction
    ),
    source="pytorch/pytorch#69339, #69511",
    needs=("label_smoothing", "ignore_index", "weight"),
    families=CLASSES,
)
def with_weight_and_ignore_index(case: Case, call: Caller) -> Judgement:
    """Weights, ignored rows and smoothing go together, with one denominator for both terms."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, smoothed(), any_reduction),
    source=SOURCE,
    needs=("label_smoothing", "spatial"),
    families=CLASSES,
)
def spatial_rows(case: Case, call: Caller) -> Judgement:
    """For (N, C, d1, ...) eps is divided by the size of the class dimension."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(unbatched, smoothed(), any_reduction),
    source=SOURCE,
    needs=("label_smoothing", "unbatched"),
    families=CLASSES,
    share=0.5,
)
def unbatched_row(case: Case, call: Caller) -> Judgement:
    """A single unbatched sample is smoothed like a row."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(heavy_class(10, 129, 1025), one_of(*COMMON_OFFSETS), huge_logits),
        smoothed(),
    ),
    source=SOURCE,
    needs=SMOOTH,
    families=CLASSES,
)
def extreme_logits(case: Case, call: Caller) -> Judgement:
    """The smoothed loss is as stable as the plain one: heavy classes, offsets, magnitudes."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_class, smoothed(), any_reduction),
    source=SOURCE,
    needs=SMOOTH,
    families=CLASSES,
    share=0.3,
)
def one_class_only(case: Case, call: Caller) -> Judgement:
    """With one class smoothing changes nothing; eps / (C - 1) would divide by zero."""
    yield Measured()  # zero is what is asked for: any other number would be outside
    yield from agrees(call(case))
