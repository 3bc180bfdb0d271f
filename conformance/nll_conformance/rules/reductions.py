"""none, mean and sum, and what each divides by."""

from __future__ import annotations

from dataclasses import replace

from .. import cases
from ..cases import (
    any_reduction,
    forward_only,
    one_of,
    option,
    scalar_upstream,
    vary,
)
from ..classification import (
    dear_rows,
    full_blocks,
    many_rows,
    odd_rows,
    several_rows,
)
from ..contract import rule
from ..judge import agrees, value_agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..together import certain_rows
from ._families import CLASSES, LOGITS

SOURCE = "torch.nn.CrossEntropyLoss"


@rule(
    "must",
    cases=vary(option("reduction", "none"), several_rows),
    source=SOURCE,
    needs=("reduction_none",),
    families=CLASSES,
)
def none(case: Case, call: Caller) -> Judgement:
    """reduction="none" gives each row's loss in the target's shape, and each row's gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(option("reduction", "sum"), several_rows),
    source=SOURCE,
    needs=("reduction_sum",),
    families=CLASSES,
)
def sum(case: Case, call: Caller) -> Judgement:
    """reduction="sum" gives the sum of the row losses and its gradient."""
    yield from agrees(call(case))


@rule("must", cases=vary(several_rows), source=SOURCE, families=CLASSES)
def mean(case: Case, call: Caller) -> Judgement:
    """The default reduction is the mean over the rows, with its gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(certain_rows),
    source="Oneflow-Inc/oneflow#4789: rows were counted by their losses",
    families=("cross_entropy", "nll", "prob_nll"),
)
def mean_counts_rows_without_loss(case: Case, call: Caller) -> Judgement:
    """A row whose loss is exactly zero counts in the mean like any other."""
    yield from agrees(call(case))


@rule("must", cases=vary(one_of(odd_rows, full_blocks)), source=SOURCE, families=CLASSES)
def mean_of_any_count(case: Case, call: Caller) -> Judgement:
    """The mean does not depend on how rows fall into chunks."""
    yield from agrees(call(case))


@rule("must", cases=vary(many_rows, any_reduction), source=SOURCE, share=0.4, families=CLASSES)
def many(case: Case, call: Caller) -> Judgement:
    """Thousands of rows are reduced, and differentiated, as exactly as few."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(dear_rows),
    source=SOURCE,
    families=LOGITS,
    share=0.3,
)
def mean_of_large_losses(case: Case, call: Caller) -> Judgement:
    """The mean is finite where the sum of the losses is too large for their dtype."""
    yield from agrees(call(case))


@rule("must", cases=vary(cases.explicit_defaults), source=SOURCE, share=0.3)
def explicit_defaults(case: Case, call: Caller) -> Judgement:
    """Passing every default explicitly changes nothing."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, option("size_average", True, False, None), forward_only),
    source="torch.nn.CrossEntropyLoss (deprecated arguments)",
    needs=("size_average",),
    share=0.4,
)
def size_average(case: Case, call: Caller) -> Judgement:
    """The deprecated size_average=False means "sum", True and None mean "mean"."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, option("reduce", False, True), forward_only),
    source="torch.nn.CrossEntropyLoss (deprecated arguments)",
    needs=("reduce",),
    share=0.4,
)
def reduce(case: Case, call: Caller) -> Judgement:
    """The deprecated reduce=False means "none", True means "mean"."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(any_reduction, scalar_upstream), source=SOURCE)
def each_with_gradient(case: Case, call: Caller) -> Judgement:
    """Under every reduction the gradient is that of the returned loss."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, option("reduction", "mean", "sum", "none"), forward_only),
    source=SOURCE,
    needs=("reduction_none", "reduction_sum"),
    share=0.3,
    families=CLASSES,
    shows="""
        loss = {spelt_call}
    """,
)
def known_by_value(case: Case, call: Caller) -> Judgement:
    """The reduction is known by its letters, not by which string object holds them."""
    spelt = ("reduction", "".join(list(case.reduction)))  # equal, but another object
    others = tuple(option for option in case.options if option[0] != "reduction")
    yield from value_agrees(call(replace(case, options=(*others, spelt))))
