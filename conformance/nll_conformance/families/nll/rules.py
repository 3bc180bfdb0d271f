"""What only a loss of log-probabilities promises: it reads one number of a row, no more."""

from __future__ import annotations

import torch

from ...cases import any_reduction, forward_only, mixed_upstream, unreduced, vary
from ...classification import one_class, several_rows
from ...contract import rule
from ...judge import agrees, exact_zero, gradients_agree, value_agrees
from ...model import Case, Judgement
from ...observe import Caller
from ...picked_cases import as_long_as_classes, every_target
from .cases import (
    any_magnitude,
    far_below,
    impossible_elsewhere,
    impossible_target,
    not_normalised,
    positive,
    unread_elsewhere,
)

SOURCE = "torch.nn.NLLLoss"


@rule("must", cases=vary(any_magnitude, unreduced, forward_only), source=SOURCE)
def gathers_exactly(case: Case, call: Caller) -> Judgement:
    """Unweighted and unreduced, a row's loss is the bits of its target's entry, sign changed."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(every_target(-7.5), unreduced), source=SOURCE, share=0.8)
def every_target_class(case: Case, call: Caller) -> Judgement:
    """Any class can be the target, also one whose index 8 or 16 bits cannot hold."""
    yield from agrees(call(case))


@rule("must", cases=vary(not_normalised, any_reduction), source=SOURCE)
def not_normalised_again(case: Case, call: Caller) -> Judgement:
    """Rows are taken as they are: no softmax, no log, whatever their exponentials sum to.

    On rows that are normalised a second log_softmax changes the gradient alone.
    """
    yield from agrees(call(case))


@rule("must", cases=vary(positive, any_reduction), source="the log of a density may be > 0")
def positive_entries(case: Case, call: Caller) -> Judgement:
    """Positive entries, logarithms of densities, give negative losses: no abs, no clamp at 0."""
    yield from agrees(call(case))


@rule("must", cases=vary(far_below, any_reduction), source=SOURCE)
def no_clamp(case: Case, call: Caller) -> Judgement:
    """Very small log-probabilities are not clamped: loss and gradient stay linear."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(impossible_elsewhere, any_reduction),
    source="pytorch/xla#2991: one-hot times -inf is NaN",
)
def minus_infinity_elsewhere(case: Case, call: Caller) -> Judgement:
    """Other classes at -inf change neither loss nor gradient: 0 * inf is not computed."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(impossible_target, any_reduction),
    source="-log 0 = inf",
    share=0.6,
)
def minus_infinity_at_target(case: Case, call: Caller) -> Judgement:
    """A target at -inf costs infinity, neither clamped nor NaN; the gradient stays linear."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(unread_elsewhere, any_reduction),
    source="pytorch/xla#2991: only the target's entry belongs to the loss",
    share=0.6,
)
def others_unread(case: Case, call: Caller) -> Judgement:
    """Whatever stands at other classes, NaN included, reaches neither loss nor gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, any_reduction, mixed_upstream),
    source="torch.autograd: the derivative of a linear function",
    needs=("gradient",),
)
def gradient_at_target_alone(case: Case, call: Caller) -> Judgement:
    """The gradient is -w upstream / denominator at the target, exactly zero elsewhere."""
    seen = call(case)
    tensors = case.build()
    axis = 1 if tensors["input"].dim() > 1 else 0
    elsewhere = torch.ones(tensors["input"].shape, dtype=torch.bool)
    elsewhere.scatter_(axis, tensors["target"].cpu().unsqueeze(axis), False)
    yield from exact_zero("gradient of input", seen.grads.get("input"), elsewhere)
    yield from gradients_agree(seen)


@rule("must", cases=vary(one_class, any_reduction), source=SOURCE, share=0.4)
def one_class_only(case: Case, call: Caller) -> Judgement:
    """With a single class the loss is still its entry, not zero: nothing normalises it."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(as_long_as_classes, any_reduction, mixed_upstream),
    source="torch.nn.NLLLoss: input (N, C, d1, ..., dK)",
    needs=("spatial",),
    share=0.6,
)
def classes_in_dim_one(case: Case, call: Caller) -> Judgement:
    """Classes are looked up in dim 1, also where the last dimension has as many entries."""
    yield from agrees(call(case))
