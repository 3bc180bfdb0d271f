"""Rows whose target is ignore_index take no part."""

from __future__ import annotations

import torch

from ..cases import any_reduction, mixed_upstream, one_of, option, unreduced, vary
from ..classification import (
    all_ignored,
    ignored,
    ignored_class,
    ignored_neighbour,
    ignored_run,
    ignored_thousands,
    nonfinite_ignored,
    nonfinite_upstream,
    several_rows,
    spatial,
    unbatched,
    weighted,
)
from ..contract import rule
from ..discover import family_part
from ..judge import agrees, exact_zero, holds
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..together import maybe_shared_out, nothing_counts
from ._families import CLASSES

SOURCE = "torch.nn.CrossEntropyLoss: ignore_index"
IGNORE = ("ignore_index",)


def _left_out(case: Case) -> torch.Tensor:
    """Rows that do not count, broadcast to the input's entries."""
    tensors = case.build()
    kept: torch.Tensor = family_part(case.family, "oracle").kept_rows(case, tensors)
    entries: torch.Tensor = tensors["input"]
    recipe = case.tensor("input")
    assert recipe is not None
    return (~kept).unsqueeze(recipe.class_axis).expand(entries.shape)


@rule(
    "must",
    cases=vary(several_rows, ignored(-100), any_reduction),
    source=SOURCE,
    needs=("ignore_minus_100",),
    families=CLASSES,
)
def default(case: Case, call: Caller) -> Judgement:
    """Targets of -100 are ignored without being asked for: loss 0, out of the mean."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored_class, any_reduction),
    source=SOURCE,
    needs=IGNORE,
    families=CLASSES,
)
def in_range(case: Case, call: Caller) -> Judgement:
    """The ignore index may be one of the classes; that class stays in every row's denominator."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored(-1, -2, -7, -101, -1000), any_reduction),
    source=SOURCE,
    needs=IGNORE,
    families=CLASSES,
)
def negative(case: Case, call: Caller) -> Judgement:
    """Any negative ignore index is honoured and never used as an index."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored(255, 10, 100, 65535, 32767), any_reduction),
    source=SOURCE,
    needs=IGNORE,
    families=CLASSES,
)
def above_range(case: Case, call: Caller) -> Judgement:
    """An ignore index of C or more is honoured; ignored targets are never range checked."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored(2**31, -(2**31) - 1, 2**40, 2**32, -(2**33))),
    source="targets and ignore_index are 64-bit integers",
    needs=IGNORE,
    families=CLASSES,
    share=0.7,
)
def beyond_32_bits(case: Case, call: Caller) -> Judgement:
    """Targets and ignore index are not narrowed to 32 bits."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(ignored_neighbour, any_reduction),
    source="targets and ignore_index are 64-bit integers",
    needs=IGNORE,
    families=CLASSES,
    share=0.3,
)
def neighbours(case: Case, call: Caller) -> Judgement:
    """Classes beside a high ignore index count: it is compared as an integer, not in 16 bits."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, option("ignore_index", -1, 255, 2, -5), any_reduction),
    source=SOURCE,
    needs=IGNORE,
    families=CLASSES,
    share=0.7,
)
def given_but_rare(case: Case, call: Caller) -> Judgement:
    """An ignore index that few or no targets meet leaves the other rows as they are."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(ignored_run, several_rows), one_of(ignored(-100)), any_reduction),
    source=SOURCE,
    needs=("ignore_minus_100",),
    families=CLASSES,
)
def long_runs(case: Case, call: Caller) -> Judgement:
    """Padding at the start or the end, longer than any chunk, changes nothing else."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, ignored(-100, 1, -1), any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("gradient", "ignore_index"),
    families=CLASSES,
)
def zero_gradient(case: Case, call: Caller) -> Judgement:
    """Rows whose target is ignore_index get exactly zero gradient, whatever flows back."""
    seen = call(case)
    yield from exact_zero("gradient of input", seen.grads.get("input"), _left_out(case))
    yield from agrees(seen)


@rule(
    "should",
    cases=vary(several_rows, ignored(-100, -1), unreduced, nonfinite_upstream),
    source=SOURCE + ' "does not contribute to the input gradient"',
    needs=("gradient", "ignore_minus_100", "ignore_index", "reduction_none"),
    families=CLASSES,
    share=0.3,
)
def nonfinite_upstream_gradient(case: Case, call: Caller) -> Judgement:
    """An ignored row's gradient is zero also where NaN or an infinity flows back to it.

    Who finds gradients in forward multiplies a zero by it.
    """
    seen = call(case)
    yield from exact_zero("gradient of input", seen.grads.get("input"), _left_out(case))


@rule(
    "must",
    cases=vary(nothing_counts, option("reduction", "mean")),
    source="torch.nn.CrossEntropyLoss: 0/0; libraries that guard it return 0",
    needs=IGNORE,
    families=CLASSES,
    share=0.5,
    revision=2,
)
def all_ignored_mean(case: Case, call: Caller) -> Judgement:
    """With every row ignored the mean is NaN (or 0 where declared) and the gradient is zero."""
    yield Measured()  # any number but the one asked for would be outside
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(nothing_counts, option("reduction", "sum", "none")),
    source=SOURCE,
    needs=("ignore_index", "reduction_none", "reduction_sum"),
    families=CLASSES,
    share=0.5,
    revision=2,
)
def all_ignored_sum(case: Case, call: Caller) -> Judgement:
    """With every row ignored sum and none are exactly zero, and so is the gradient."""
    seen = call(case)
    everywhere = torch.ones(seen.value.shape, dtype=torch.bool)
    yield from exact_zero("loss", seen.value, everywhere)
    yield from agrees(seen)


@rule(
    "must",
    cases=vary(several_rows, weighted, ignored(-100, -1, 255, 0), any_reduction),
    source=SOURCE,
    needs=("ignore_index", "weight"),
    families=CLASSES,
)
def with_weight(case: Case, call: Caller) -> Judgement:
    """Ignored rows bring no weight into the mean, and no weight is looked up for them."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, ignored(-100, 255, -1), any_reduction),
    source=SOURCE,
    needs=("ignore_index", "spatial"),
    families=CLASSES,
)
def spatial_rows(case: Case, call: Caller) -> Judgement:
    """Single pixels are ignored like rows."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, nonfinite_ignored, maybe_shared_out, any_reduction),
    source="an ignored row contributes 0 even if it holds NaN (Megatron-Bridge#3117)",
    needs=("ignore_minus_100",),
    families=CLASSES,
)
def nonfinite_loss(case: Case, call: Caller) -> Judgement:
    """NaN or infinite logits in an ignored row do not reach the loss."""
    from ..judge import value_agrees

    yield from value_agrees(call(case))


@rule(
    "should",
    cases=vary(several_rows, nonfinite_ignored, any_reduction),
    source="pytorch/pytorch#11551",
    needs=("ignore_minus_100", "gradient"),
    families=CLASSES,
)
def nonfinite_gradient(case: Case, call: Caller) -> Judgement:
    """NaN or infinite logits in an ignored row leave its gradient exactly zero."""
    seen = call(case)
    yield from holds("input" in seen.grads, "no gradient arrived at 'input'")
    yield from exact_zero("gradient of input", seen.grads.get("input"), _left_out(case))


@rule(
    "must",
    cases=vary(ignored_thousands, any_reduction),
    source=SOURCE,
    needs=IGNORE,
    families=CLASSES,
    share=0.25,
)
def thousands(case: Case, call: Caller) -> Judgement:
    """Thousands of counted and ignored rows are counted exactly."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(unbatched, all_ignored, option("reduction", "sum", "none")),
    source=SOURCE,
    needs=("ignore_index", "unbatched", "reduction_sum", "reduction_none"),
    families=CLASSES,
    share=0.4,
)
def unbatched_row(case: Case, call: Caller) -> Judgement:
    """A single unbatched sample is ignored like a row: loss and gradient are zero."""
    yield Measured()  # zero is what is asked for: any other number would be outside
    yield from agrees(call(case))
