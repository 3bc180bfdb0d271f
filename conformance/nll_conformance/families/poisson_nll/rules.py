"""Sentences that only a Poisson likelihood has: rates, log rates, Stirling's term."""

from __future__ import annotations

from ... import shown
from ...cases import Variation, any_reduction, forward_only, mixed_upstream, one_of, unreduced, vary
from ...cases import option as of
from ...contract import rule
from ...elementwise import integer_target, with_target_grad
from ...judge import agrees, gradients_agree, value_agrees
from ...model import Case, Judgement
from ...observe import Caller
from ...refusal import right_or_raises
from . import cases

SOURCE = "torch.nn.PoissonNLLLoss"
LOG_RATE = ("log_rate",)
STIRLING = "torch.nn.PoissonNLLLoss: for targets above 1; PaddlePaddle#56733, pytorch#28575"
FULL: Variation = of("full", True)


@rule("must", cases=vary(unreduced, forward_only), source=SOURCE, needs=LOG_RATE)
def log_rate(case: Case, call: Caller) -> Judgement:
    """For a log rate the loss of an element is exp(input) - target input."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(unreduced, mixed_upstream), source=SOURCE, needs=("gradient", *LOG_RATE))
def log_rate_gradient(case: Case, call: Caller) -> Judgement:
    """For a log rate the gradient is exp(input) - target."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(one_of(cases.large_log_rates, cases.low_log_rates), unreduced),
    source=SOURCE,
    needs=LOG_RATE,
)
def extreme_log_rate(case: Case, call: Caller) -> Judgement:
    """Log rates of any size that the dtype's exponential stands are taken as they are."""
    yield from agrees(call(case))


@rule("must", cases=vary(cases.zero_counts, any_reduction), source=SOURCE, share=0.6)
def zero_counts(case: Case, call: Caller) -> Judgement:
    """A count of zero costs the rate."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(cases.fractional_counts, cases.large_counts), any_reduction),
    source=SOURCE,
    share=0.6,
)
def any_counts(case: Case, call: Caller) -> Judgement:
    """Targets need not be whole numbers, nor small."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.rates, unreduced, forward_only),
    source=SOURCE,
    needs=("rate",),
)
def rate(case: Case, call: Caller) -> Judgement:
    """With log_input=False the loss is input - target log(input + eps)."""
    yield from value_agrees(call(case))


@rule(
    "must",
    cases=vary(cases.rates, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("rate", "gradient"),
)
def rate_gradient(case: Case, call: Caller) -> Judgement:
    """With log_input=False the gradient is 1 - target / (input + eps)."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(one_of(cases.small_rates, cases.large_rates), unreduced),
    source=SOURCE,
    needs=("rate",),
    share=0.6,
)
def extreme_rate(case: Case, call: Caller) -> Judgement:
    """Small rates are not lifted and large ones not limited."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.zero_rate, unreduced),
    source="torch.nn.PoissonNLLLoss: eps avoids log(0); pytorch#3336",
    needs=("rate",),
)
def zero_rate(case: Case, call: Caller) -> Judgement:
    """A rate of zero gives finite numbers: log(input + eps) with eps 1e-8 by default."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(cases.rates_with_eps, cases.no_eps), any_reduction),
    source=SOURCE,
    needs=("rate", "eps"),
)
def eps_in_logarithm(case: Case, call: Caller) -> Judgement:
    """Eps is added to the rate inside the logarithm, and only there."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(of("eps", 0.25, 1.0, 4.0), any_reduction),
    source=SOURCE,
    needs=("eps", *LOG_RATE),
    share=0.5,
)
def no_eps_for_log_rates(case: Case, call: Caller) -> Judgement:
    """For a log rate eps has no effect: no logarithm is taken."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.counts(2.0, 5.0, 1.25, 9.0, 1.0625, 3.0), FULL, unreduced),
    source=STIRLING,
    needs=("full",),
)
def stirling(case: Case, call: Caller) -> Judgement:
    """full=True adds target log(target) - target + log(2 pi target) / 2 for targets above 1."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.counts(1.0, 0.0, 0.5), FULL, unreduced),
    source=STIRLING,
    needs=("full",),
)
def no_stirling_up_to_one(case: Case, call: Caller) -> Judgement:
    """full=True adds nothing for targets of 1 and below, and no NaN for those of 0."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(FULL, cases.large_counts), FULL, any_reduction, mixed_upstream),
    source=STIRLING,
    needs=("full",),
)
def full(case: Case, call: Caller) -> Judgement:
    """Each element has its own Stirling term, whatever its neighbours; the gradient has none."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(integer_target, FULL, any_reduction),
    source=STIRLING + "; counts are whole numbers",
    needs=("full",),
    share=0.4,
    # Beside float64 PyTorch takes the logarithm of integers in float32.
    dtypes=("float32", "bfloat16", "float16"),
    shows=shown.RIGHT_OR_RAISES,
)
def full_of_integers(case: Case, call: Caller) -> Judgement:
    """Counts in an integer dtype have the same Stirling term, unrounded, or are refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(cases.rates, FULL, any_reduction),
    source=STIRLING,
    needs=("full", "rate"),
    share=0.6,
)
def full_rate(case: Case, call: Caller) -> Judgement:
    """Stirling's term is the same for rates and log rates."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.rates, with_target_grad, any_reduction),
    source="torch.autograd: the derivative by the target is -log(input + eps)",
    needs=("rate", "gradient", "target_gradient"),
    share=0.5,
)
def rate_target_gradient(case: Case, call: Caller) -> Judgement:
    """With log_input=False a target that requires a gradient gets -log(input + eps)."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(cases.counts(3.0, 0.5, 1.5, 0.25, 2.0), FULL, with_target_grad, unreduced),
    source="torch.autograd: Stirling's term depends on the target",
    needs=("full", "gradient", "target_gradient"),
    share=0.5,
)
def full_target_gradient(case: Case, call: Caller) -> Judgement:
    """full=True adds log(target) + 1 / (2 target) to the target's gradient, above 1 only."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(cases.counts(0.0), FULL, with_target_grad, unreduced),
    source="a term that is left out has no gradient; 0 times infinity is not zero",
    needs=("full", "gradient", "target_gradient"),
    share=0.3,
)
def full_target_gradient_at_zero(case: Case, call: Caller) -> Judgement:
    """full=True leaves the gradient of a target of zero finite."""
    yield from agrees(call(case))
