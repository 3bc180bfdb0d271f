"""What only a loss of probabilities promises: the logarithm of what it was given."""

from __future__ import annotations

import torch

from ...cases import any_reduction, forward_only, mixed_upstream, unreduced, vary
from ...classification import one_class, several_rows
from ...contract import rule
from ...judge import agrees, exact_zero, gradients_agree, value_agrees
from ...model import Case, Judgement, Measured
from ...observe import Caller
from ...picked_cases import as_long_as_classes, every_target
from .cases import (
    certain,
    dyadic,
    impossible_elsewhere,
    impossible_target,
    near_epsilon,
    nearly_certain,
    not_normalised,
    reciprocal_beyond_half,
    smallest,
)

SOURCE = "negative log-likelihood: -log p(target)"
EPSILON = SOURCE + "; a clamp's gradient vanishes where the model is most wrong"


@rule("must", cases=vary(dyadic, unreduced, forward_only), source=SOURCE)
def row_loss(case: Case, call: Caller) -> Judgement:
    """A row's loss is -log of its target's probability, the natural logarithm."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(every_target(0.375), unreduced), source=SOURCE, share=0.8)
def every_target_class(case: Case, call: Caller) -> Judgement:
    """Any class can be the target, also one whose index 8 or 16 bits cannot hold."""
    yield from agrees(call(case))


@rule("must", cases=vary(near_epsilon, unreduced), source=EPSILON)
def no_epsilon(case: Case, call: Caller) -> Judgement:
    """No epsilon is added to a small probability and no clamp raises it."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(reciprocal_beyond_half),
    source=EPSILON,
    dtypes=("float16",),
    needs=("gradient",),
    share=0.3,
)
def mean_of_tiny_probabilities(case: Case, call: Caller) -> Judgement:
    """1 / p may be more than float16 holds where its share of the mean is not."""
    yield from agrees(call(case))


@rule("must", cases=vary(smallest, unreduced), source=EPSILON)
def tiny_probabilities(case: Case, call: Caller) -> Judgement:
    """Loss and gradient are exact down to the smallest normal number of the dtype."""
    yield from agrees(call(case))


@rule("must", cases=vary(certain, any_reduction), source="log 1 = 0")
def certain_target(case: Case, call: Caller) -> Judgement:
    """A certain target (p = 1) costs exactly zero; its gradient is -1, scaled, not zero.

    A clamp below 1, or an epsilon, leaves a loss; a clamp's gradient there is zero.
    """
    yield Measured()  # zero is what is asked for: any other number would be outside
    yield from agrees(call(case))


@rule("must", cases=vary(nearly_certain, unreduced), source=SOURCE)
def nearly_certain_target(case: Case, call: Caller) -> Judgement:
    """Just below 1 the loss is as exact as the logarithm, not cut off."""
    yield from agrees(call(case))


@rule("must", cases=vary(impossible_target, any_reduction, forward_only), source="-log 0 = inf")
def infinite_loss(case: Case, call: Caller) -> Judgement:
    """A target of probability 0 costs infinity, neither clamped nor NaN."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(impossible_elsewhere, any_reduction, forward_only),
    source=SOURCE + "; 0 * log 0 is not computed (pytorch/xla#2991)",
)
def zero_elsewhere(case: Case, call: Caller) -> Judgement:
    """Other classes of probability 0 leave the loss as it is."""
    yield from value_agrees(call(case))


@rule(
    "should",
    cases=vary(impossible_elsewhere, any_reduction),
    source="pytorch/pytorch#1620: the gradient 0/0 of log 0",
    needs=("gradient",),
)
def zero_elsewhere_gradient(case: Case, call: Caller) -> Judgement:
    """Other classes of probability 0 get a zero gradient, not the 0/0 of log 0."""
    yield from gradients_agree(call(case))


@rule("must", cases=vary(not_normalised, any_reduction), source=SOURCE)
def not_normalised_again(case: Case, call: Caller) -> Judgement:
    """Rows are taken as they are: no softmax, no division by their sum."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, any_reduction, mixed_upstream),
    source="torch.autograd: the derivative of -log p",
    needs=("gradient",),
)
def gradient_at_target_alone(case: Case, call: Caller) -> Judgement:
    """The gradient is -w upstream / (p denominator) at the target, exactly zero elsewhere."""
    seen = call(case)
    tensors = case.build()
    axis = 1 if tensors["input"].dim() > 1 else 0
    elsewhere = torch.ones(tensors["input"].shape, dtype=torch.bool)
    elsewhere.scatter_(axis, tensors["target"].cpu().unsqueeze(axis), False)
    yield from exact_zero("gradient of input", seen.grads.get("input"), elsewhere)
    yield from gradients_agree(seen)


@rule("must", cases=vary(one_class, any_reduction), source=SOURCE, share=0.4)
def one_class_only(case: Case, call: Caller) -> Judgement:
    """With a single class of probability 1 loss zero still has the gradient -1, scaled."""
    yield Measured()  # zero is what is asked for: any other number would be outside
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
