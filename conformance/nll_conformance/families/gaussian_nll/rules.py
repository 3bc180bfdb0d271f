"""Sentences that only a Gaussian likelihood has: variance, floor, constant, broadcasting."""

from __future__ import annotations

from ... import shown
from ...cases import any_reduction, forward_only, mixed_upstream, one_of, unreduced, vary
from ...cases import option as of
from ...contract import rule
from ...elementwise import sized, with_target_grad
from ...judge import agrees, gradients_agree, identical, value_agrees
from ...model import Case, Judgement
from ...observe import Caller
from ...refusal import raises
from . import cases

SOURCE = "torch.nn.GaussianNLLLoss"
FLOOR = "torch.nn.GaussianNLLLoss: max(var, eps), ignored with respect to autograd"
SHAPES = "torch.nn.GaussianNLLLoss: Shape"
NUMBER = """
    var = float(var.detach())
    loss = {call}
"""


@rule(
    "must",
    cases=vary(one_of(cases.wide_variances, cases.exact_prediction), unreduced, forward_only),
    source=SOURCE,
)
def element_loss(case: Case, call: Caller) -> Judgement:
    """The loss of an element is (log var + (input - target)^2 / var) / 2.

    Both halves count, var is the variance and not its root, and nothing is added to it.
    """
    yield from value_agrees(call(case))


@rule("must", cases=vary(cases.wide_variances, unreduced), source=SOURCE, needs=("gradient",))
def gradients(case: Case, call: Caller) -> Judgement:
    """The gradients are (input - target) / var, and (1 - (input - target)^2 / var) / (2 var)."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(cases.close_prediction, unreduced),
    source="the difference is taken before it is squared",
)
def close_prediction(case: Case, call: Caller) -> Judgement:
    """Near predictions far from zero keep their accuracy: the square is not multiplied out."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(cases.small_variances, cases.large_residuals), unreduced),
    source=SOURCE,
)
def large_quotient(case: Case, call: Caller) -> Judgement:
    """Nothing limits the loss, or its gradient, of a confident wrong prediction."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.variances_below_half, unreduced),
    source=SOURCE,
    dtypes=("float16",),
    share=0.3,
)
def square_below_half(case: Case, call: Caller) -> Judgement:
    """The square of a variance may be less than float16 holds where the gradient is not."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.residuals_beyond_half, unreduced),
    source=SOURCE,
    dtypes=("float16",),
    share=0.3,
)
def square_beyond_half(case: Case, call: Caller) -> Judgement:
    """The square of a residual may be more than float16 holds where its quotient is not."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(of("full", True), any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("full",),
)
def full_constant(case: Case, call: Caller) -> Judgement:
    """full=True adds log(2 pi) / 2 to each element, and nothing to the gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.floor(0.5, 1.0, 0.25), unreduced, forward_only),
    source=FLOOR,
    needs=("eps",),
)
def variance_floor(case: Case, call: Caller) -> Judgement:
    """A variance below eps counts as eps, in the logarithm and in the quotient alike."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(cases.floor(0.5, 1.0, 0.25), any_reduction, mixed_upstream),
    source=FLOOR + "; unifyai/ivy#11994",
    needs=("eps", "gradient"),
)
def floor_gradient(case: Case, call: Caller) -> Judgement:
    """Below eps the gradient of var is the one at eps, not zero: the variance can recover."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(cases.above_floor, any_reduction),
    source=FLOOR + "; pytorch#190058",
    needs=("eps",),
)
def floor_is_no_addend(case: Case, call: Caller) -> Judgement:
    """Eps leaves a variance above it as it is: it is a floor and is not added."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.everything_below, any_reduction),
    source=FLOOR,
    needs=("eps",),
    share=0.5,
)
def floor_everywhere(case: Case, call: Caller) -> Judgement:
    """Where eps lies above every variance the loss is that of the variance eps."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.below_default, unreduced),
    source=FLOOR,
    needs=("variance_floor",),
)
def default_floor(case: Case, call: Caller) -> Judgement:
    """The floor is 1e-6 unless said otherwise: a variance of zero gives finite numbers."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            cases.floor(0.5, 1.0),
            cases.below_default,
            cases.homoscedastic(cases.last_dimension_one, cases.without_last_dimension),
        ),
        any_reduction,
    ),
    source="a loss is a function of its arguments",
    needs=("eps",),
    shows=shown.INPUTS_KEPT,
)
def var_unchanged(case: Case, call: Caller) -> Judgement:
    """The caller's var is not raised to eps, nor reshaped, in place."""
    seen = call(case)
    for name, tensor in case.build().items():
        if name not in call.subject.implementation.mutates:
            yield from identical(f"{name} after the call", seen.arguments[name], tensor)


@rule(
    "must",
    cases=vary(cases.homoscedastic(cases.last_dimension_one), any_reduction, mixed_upstream),
    source=SHAPES,
    needs=("homoscedastic",),
)
def last_dimension_one(case: Case, call: Caller) -> Judgement:
    """A variance whose last dimension is 1 holds for all of it; its gradient is the sum."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.homoscedastic(cases.without_last_dimension), any_reduction, mixed_upstream),
    source=SHAPES,
    needs=("homoscedastic",),
)
def without_last_dimension(case: Case, call: Caller) -> Judgement:
    """A variance without the last dimension belongs to the rows, also of square inputs."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.one_unit_dimension, any_reduction, mixed_upstream),
    source=SHAPES + "; pytorch#147521",
    needs=("homoscedastic",),
)
def one_unit_dimension(case: Case, call: Caller) -> Judgement:
    """Any one dimension of the variance may be 1: per pixel, per channel, per batch."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(cases.any_broadcast, any_reduction),
    source="pytorch#176244",
    needs=("homoscedastic",),
    share=0.5,
)
def unit_dimensions(case: Case, call: Caller) -> Judgement:
    """Several dimensions of the variance may be 1, as anywhere else in PyTorch."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.broadcast_target, any_reduction, with_target_grad),
    source=SHAPES,
    needs=("target_broadcast", "target_gradient"),
)
def broadcast_target(case: Case, call: Caller) -> Judgement:
    """One dimension of the target may be 1; the mean still divides by the input's elements."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sized((5,), (2,)), cases.every_digit_of_one, any_reduction),
    source=SHAPES + ': "or a scalar value"',
    needs=("scalar_var",),
    share=0.5,
    shows=NUMBER,
)
def scalar_variance(case: Case, call: Caller) -> Judgement:
    """A variance may be a Python number.

    The case shows it as a tensor without dimensions.
    """
    yield from _variance_as_number(case, call)


@rule(
    "must",
    cases=vary(sized((5,), (2,)), cases.without_last_dimension, cases.below_default, any_reduction),
    source=SHAPES + ': "or a scalar value"; the floor is for any variance',
    needs=("scalar_var", "variance_floor"),
    share=0.3,
    shows=NUMBER,
)
def scalar_variance_below_eps(case: Case, call: Caller) -> Judgement:
    """A variance that is a Python number has the floor eps, too: zero divides nothing."""
    yield from _variance_as_number(case, call)


def _variance_as_number(case: Case, call: Caller) -> Judgement:
    tensors = call.tensors(case)
    number: dict[str, object] = {**tensors, "var": float(tensors["var"].detach())}
    value = call.forward(case, number)  # type: ignore[arg-type]
    yield from value_agrees(call.observation(case, value, {}, tensors))


@rule(
    "should",
    cases=vary(cases.negative, forward_only),
    source=SOURCE,
    share=0.3,
    shows=shown.RAISES,
)
def negative_variance(case: Case, call: Caller) -> Judgement:
    """A negative variance raises."""
    yield from raises(case, call, "a negative variance")


@rule(
    "should",
    cases=vary(cases.wrong_shape, forward_only),
    source=SOURCE,
    share=0.3,
    shows=shown.RAISES,
)
def variance_shape(case: Case, call: Caller) -> Judgement:
    """A variance that fits neither the input nor its leading dimensions raises."""
    yield from raises(case, call, "a variance of the wrong shape")
