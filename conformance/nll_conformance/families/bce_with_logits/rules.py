"""Sentences that only binary cross entropy has: stability, both weights, the point zero."""

from __future__ import annotations

from ... import shown
from ...cases import (
    any_reduction,
    forward_only,
    laid_out,
    mixed_upstream,
    one_of,
    scalar_upstream,
    unreduced,
    vary,
)
from ...contract import rule
from ...elementwise import with_target_grad
from ...judge import agrees, gradients_agree, identical, value_agrees
from ...model import Case, Judgement
from ...observe import Caller
from ...refusal import raises, right_or_raises
from ...second import curvature_agrees
from . import cases

SOURCE = "torch.nn.BCEWithLogitsLoss"
WEIGHT = ("weight",)
POSITIVE = ("pos_weight",)


@rule("must", cases=vary(unreduced, forward_only), source=SOURCE)
def element_loss(case: Case, call: Caller) -> Judgement:
    """The loss of an element is log(1 + exp(input)) - target input."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(cases.soft, unreduced, mixed_upstream), source=SOURCE)
def soft_target(case: Case, call: Caller) -> Judgement:
    """Targets between 0 and 1 mix both logarithms, in the loss and in the gradient."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(cases.beyond_one, any_reduction, mixed_upstream),
    source="torch.nn.functional.binary_cross_entropy_with_logits takes any target",
    share=0.4,
    shows=shown.RIGHT_OR_RAISES,
)
def any_target(case: Case, call: Caller) -> Judgement:
    """Targets below 0 or above 1 follow the same formula, or are refused."""
    yield from right_or_raises(case, call)


@rule("must", cases=vary(unreduced, mixed_upstream), source=SOURCE, needs=("gradient",))
def gradient(case: Case, call: Caller) -> Judgement:
    """The gradient is sigmoid(input) - target."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(cases.zero_logits, unreduced),
    source="pytorch#2195: abs and clamp have no or one-sided derivatives at 0",
    needs=("gradient",),
)
def gradient_at_zero(case: Case, call: Caller) -> Judgement:
    """At a logit of exactly 0 the gradient is 1/2 - target like everywhere else."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        cases.apart(20.0, 12.0, 40.0, 25.0, 90.0, 30.0, 17.0, 110.0, 60.0, right=False), unreduced
    ),
    source="log sigmoid(x) is computed from x (keras 28f35465: clipped probabilities)",
)
def wrong_prediction(case: Case, call: Caller) -> Judgement:
    """The loss of a wrong prediction grows with the logit, its gradient stays 1: no clamp."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.apart(4.0, 6.0, 3.0, 8.0, 5.0, right=True), unreduced, forward_only),
    source="log1p(exp(-|x|))",
)
def right_prediction(case: Case, call: Caller) -> Judgement:
    """The small loss of a right prediction keeps its digits."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(cases.apart(1000.0, 20000.0, 200.0, right=False), unreduced),
    source="log1p(exp(-|x|))",
    share=0.6,
)
def huge_logits(case: Case, call: Caller) -> Judgement:
    """Logits of any magnitude and sign give finite numbers: exp must not overflow."""
    yield from agrees(call(case))


@rule("must", cases=vary(cases.tiny_logits, unreduced), source=SOURCE, share=0.5)
def tiny_logits(case: Case, call: Caller) -> Judgement:
    """Logits near zero, down to subnormal numbers, give log 2 and the gradient 1/2 - target."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.weighted("weight"), unreduced, mixed_upstream),
    source=SOURCE,
    needs=WEIGHT,
)
def weight(case: Case, call: Caller) -> Judgement:
    """Weight scales each element's loss and gradient once, broadcast from the last dimension.

    Of a square input it belongs to the columns unless it says otherwise.
    """
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.weighted("weight"), any_reduction),
    source="torch.nn.BCEWithLogitsLoss: mean divides by the number of elements",
    needs=WEIGHT,
)
def weighted_mean(case: Case, call: Caller) -> Judgement:
    """The weighted mean divides by the number of elements, not by the sum of the weights."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        cases.weighted("weight"),
        one_of(cases.weighing("weight", 0.0), cases.weighing("weight", -1.5)),
        any_reduction,
    ),
    source="a product, without a condition on its sign (pytorch#31491)",
    needs=WEIGHT,
    share=0.6,
)
def zero_or_negative_weight(case: Case, call: Caller) -> Judgement:
    """A weight of zero removes an element's loss and gradient, a negative one turns them."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.weighted("pos_weight"), unreduced, mixed_upstream),
    source=SOURCE,
    needs=POSITIVE,
)
def pos_weight(case: Case, call: Caller) -> Judgement:
    """pos_weight scales the term of positive targets alone, broadcast from the last dimension."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.weighted("pos_weight"), cases.weighing("pos_weight", 0.0), any_reduction),
    source=SOURCE + ", without a condition on it",
    needs=POSITIVE,
    share=0.6,
)
def pos_weight_of_zero(case: Case, call: Caller) -> Judgement:
    """A pos_weight of zero removes the term of positive targets; it is not "none given"."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.weighted("pos_weight"), cases.soft, any_reduction),
    source=SOURCE,
    needs=POSITIVE,
)
def pos_weight_of_soft_target(case: Case, call: Caller) -> Judgement:
    """pos_weight scales the positive part of a target between 0 and 1, by whatever it is."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        cases.weighted("pos_weight", ((4, 3), (3,)), ((3, 3), (3,))),
        cases.apart(20.0, 120.0, 9.0, 60.0, 3000.0, right=False),
        unreduced,
    ),
    source="log sigmoid(x) is computed from x, under a weight as well",
    needs=POSITIVE,
    share=0.6,
)
def pos_weight_of_wrong_prediction(case: Case, call: Caller) -> Judgement:
    """pos_weight and large logits together are as stable as either."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.both_weights, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("weight", "pos_weight"),
)
def both_weights(case: Case, call: Caller) -> Judgement:
    """Weight and pos_weight multiply each other, each in its own place."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.both_weights, any_reduction, scalar_upstream),
    source="torch.autograd: double backward",
    needs=("weight", "pos_weight", "gradient", "double_backward"),
    share=0.3,
    dtypes=("float64", "float32"),
    shows=shown.SECOND_ORDER,
)
def second_order(case: Case, call: Caller) -> Judgement:
    """The second derivative has both weights, too, or is refused."""
    yield from curvature_agrees(case, call)


@rule(
    "must",
    cases=vary(
        cases.both_weights,
        one_of(
            laid_out("weight", "strided", "shifted", "transposed"),
            laid_out("pos_weight", "strided", "shifted", "expanded"),
        ),
        any_reduction,
    ),
    source="strides and offset are part of a tensor",
    needs=("weight", "pos_weight"),
    share=0.6,
)
def weight_layout(case: Case, call: Caller) -> Judgement:
    """Weights that are strided, offset or expanded views are read by their strides."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.both_weights, any_reduction, mixed_upstream),
    source="a loss is a function of its arguments",
    needs=("weight", "pos_weight"),
    share=0.5,
    shows=shown.INPUTS_KEPT,
)
def weights_unchanged(case: Case, call: Caller) -> Judgement:
    """The caller's weights are the same after forward and backward."""
    seen = call(case)
    for name, tensor in case.build().items():
        if name not in call.subject.implementation.mutates:
            yield from identical(f"{name} after the call", seen.arguments[name], tensor)


@rule(
    "must",
    cases=vary(cases.weighted("pos_weight"), cases.soft, with_target_grad, unreduced),
    source="torch.autograd: the target is an argument of the formula like any other",
    needs=("pos_weight", "gradient", "target_gradient"),
    share=0.6,
)
def pos_weight_target_gradient(case: Case, call: Caller) -> Judgement:
    """The target's gradient is pos_weight log(1 + exp(-x)) - log(1 + exp(x))."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(cases.wrong_target_shape, forward_only),
    source="torch.nn.functional.binary_cross_entropy_with_logits",
    share=0.3,
    shows=shown.RAISES,
)
def target_shape(case: Case, call: Caller) -> Judgement:
    """A target of another shape raises: (N, 1) beside (N,) must not become (N, N)."""
    yield from raises(case, call, "a target of another shape")
