"""The loss is the documented formula, row by row."""

from __future__ import annotations

from .. import accuracy
from ..cases import forward_only, unreduced, vary
from ..classification import (
    VOCABULARIES,
    few_masses,
    heavy_class,
    scattered,
    square,
)
from ..contract import rule
from ..judge import agrees, value_agrees
from ..magnitudes import (
    confident_target,
    tiny_logits,
)
from ..model import Case, Judgement
from ..observe import Caller
from ..together import probability_like
from ._families import ELEMENTWISE, GIVEN_LOGITS, LOGITS

SOURCE = "torch.nn.CrossEntropyLoss"


@rule("must", cases=vary(forward_only), source=SOURCE)
def plain_mean(case: Case, call: Caller) -> Judgement:
    """With every option at its default the loss is the mean over the rows."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(scattered, unreduced, forward_only), source=SOURCE, families=LOGITS)
def row_loss(case: Case, call: Caller) -> Judgement:
    """The loss of a row is log(sum_j exp x_j) - x_target, for ordinary logits."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(few_masses, unreduced, forward_only), source=SOURCE, families=LOGITS)
def few_classes(case: Case, call: Caller) -> Judgement:
    """The loss is exact where a few classes share the mass, ties included.

    Roundings of exp, of the difference to the maximum, or of the sum cannot average out.
    """
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(heavy_class(3, 17, 2, 33, 64, 129, 5, 102, 257), unreduced, forward_only),
    source=SOURCE,
    families=LOGITS,
)
def every_class(case: Case, call: Caller) -> Judgement:
    """Every class takes part in the normalisation, wherever it sits: first, last, block edges."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(heavy_class(1025, 2048, 4096, *VOCABULARIES), unreduced, forward_only),
    source=SOURCE,
    families=LOGITS,
    share=0.75,
)
def large_vocabulary(case: Case, call: Caller) -> Judgement:
    """The loss is exact for vocabularies of language models, at every position."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(confident_target, unreduced, forward_only), source=SOURCE, families=LOGITS)
def confident(case: Case, call: Caller) -> Judgement:
    """The loss of a confident, right prediction is exact, however small it is."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(tiny_logits, unreduced, forward_only), source=SOURCE, families=LOGITS)
def tiny(case: Case, call: Caller) -> Judgement:
    """Logits near zero, down to subnormal numbers, give the loss log C."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(square, unreduced, forward_only), source=SOURCE, families=LOGITS)
def as_many_rows_as_classes(case: Case, call: Caller) -> Judgement:
    """Rows and classes are told apart by position, not by size."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(probability_like), source=SOURCE, families=GIVEN_LOGITS)
def like_probabilities(case: Case, call: Caller) -> Judgement:
    """Logits that look like probabilities or log-probabilities are normalised all the same."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=accuracy.every_point,
    source="error in condition units, for ranking; no verdict hangs on it",
    families=(*LOGITS, *ELEMENTWISE),
    count=accuracy.CASES,
)
def accuracy_set(case: Case, call: Caller) -> Judgement:
    """The same inputs for every loss, whose largest error in condition units is its accuracy.

    It fails only where the bound is missed, as other rules would.
    """
    yield from agrees(call(case))
