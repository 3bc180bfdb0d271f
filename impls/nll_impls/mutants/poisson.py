"""Poisson NLL: rates taken for log rates, Stirling's term, eps, counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..losses.poisson import stirling
from ._elements import Poisson, poisson_mutant, reduced

FORMULA = "implementations of the formula by hand"


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.rate",))
def rates_taken_for_log_rates(call: Poisson) -> Tensor:
    """log_input=False is accepted and not looked at."""
    return reduced(call, call.but(log_input=True).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.log_rate", "values.plain_mean"))
def exponential_clamped_below(call: Poisson) -> Tensor:
    """The exponential of a log rate is at least 1."""
    x, y = call.x, call.y
    if not call.log_input:
        return reduced(call, call.losses())
    return reduced(call, x.exp().clamp(min=1.0) - y * x + call.stirling())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.log_rate_gradient",))
def gradient_of_rate_alone(call: Poisson) -> Tensor:
    """The gradient of a log rate is exp(input), without the target."""
    x, y = call.x, call.y
    if not call.log_input:
        return reduced(call, call.losses())
    return reduced(call, x.exp() - y * x.detach() + call.stirling())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.extreme_log_rate",))
def log_rate_clamped(call: Poisson) -> Tensor:
    """Log rates are limited to 20 on either side, lest the exponential overflow."""
    input = call.input.clamp(-20.0, 20.0) if call.log_input else call.input
    return reduced(call, call.but(input=input).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.zero_counts",))
def zero_counts_left_out(call: Poisson) -> Tensor:
    """An element without counts costs nothing, as if it were padding."""
    return reduced(call, torch.where(call.target > 0, call.losses(), 0.0))


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.any_counts",))
def counts_made_whole(call: Poisson) -> Tensor:
    """Counts lose what they have behind the point."""
    target = call.target.detach()
    whole = call.target + (target.trunc() - target)
    return reduced(call, call.but(target=whole).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.rate_gradient",))
def gradient_without_one(call: Poisson) -> Tensor:
    """The gradient of a rate lacks its 1: -target / (input + eps) alone."""
    x, y = call.x, call.y
    if call.log_input:
        return reduced(call, call.losses())
    return reduced(call, x.detach() - y * (x + call.eps).log() + call.stirling())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.extreme_rate",))
def small_rates_lifted(call: Poisson) -> Tensor:
    """Rates below 1/64 are raised to it."""
    input = call.input if call.log_input else call.input.clamp(min=1 / 64)
    return reduced(call, call.but(input=input).losses())


@poisson_mutant(source="pytorch/pytorch#3336", caught_by=("poisson_nll.zero_rate",))
def logarithm_without_eps(call: Poisson) -> Tensor:
    """No eps is added unless one is asked for: the logarithm of a rate of zero is -inf."""
    eps = 0.0 if call.eps == 1e-8 else call.eps
    return reduced(call, call.but(eps=eps).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.eps_in_logarithm",))
def eps_as_floor(call: Poisson) -> Tensor:
    """Eps is a floor of the rate and not added to it."""
    x, y = call.x, call.y
    if call.log_input:
        return reduced(call, call.losses())
    return reduced(call, x - y * x.clamp(min=call.eps).log() + call.stirling())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.no_eps_for_log_rates",))
def eps_added_to_log_rates(call: Poisson) -> Tensor:
    """Eps is added to the rate of a log rate, too."""
    losses = call.losses()
    return reduced(call, losses + call.eps if call.log_input else losses)


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.stirling",))
def stirling_without_logarithm(call: Poisson) -> Tensor:
    """Stirling's term ends after y log y - y."""
    y = call.y
    term = torch.where(y > 1, (2 * math.pi * torch.where(y > 1, y, 1.0)).log() / 2, 0.0)
    return reduced(call, call.losses() - (term if call.full else 0.0))


@poisson_mutant(
    source="pytorch/pytorch#28575, PaddlePaddle/Paddle#56733 (fixed by #56992)",
    caught_by=("poisson_nll.no_stirling_up_to_one",),
)
def stirling_where_it_is_positive(call: Poisson) -> Tensor:
    """Stirling's term is left out where it is negative, not where the count is 1 or less."""
    y = call.y
    if not call.full:
        return reduced(call, call.losses())
    safe = torch.where(y > 0, y, 1.0)
    term = safe * safe.log() - safe + (2 * math.pi * safe).log() / 2
    return reduced(call, call.plain() + torch.where((y > 0) & (term > -0.1), term, 0.0))


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.full",))
def stirling_for_all_or_none(call: Poisson) -> Tensor:
    """One count above 1 brings Stirling's term to every count of at least 1."""
    y = call.y
    if not call.full or not bool((y > 1).any()):
        return reduced(call, call.losses())
    ones = torch.where(y == 1, HALF_LOG_2PI_LESS_ONE, 0.0)
    return reduced(call, call.losses() + ones)


HALF_LOG_2PI_LESS_ONE = math.log(2 * math.pi) / 2 - 1


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.full_rate",))
def stirling_of_log_rates_alone(call: Poisson) -> Tensor:
    """Stirling's term is added for log rates alone."""
    return reduced(call, call.but(full=call.full and call.log_input).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.rate_target_gradient",))
def target_detached_beside_rates(call: Poisson) -> Tensor:
    """Beside rates the target is taken for a constant."""
    target = call.target if call.log_input else call.target.detach()
    return reduced(call, call.but(target=target).losses())


@poisson_mutant(source=FORMULA, caught_by=("poisson_nll.full_target_gradient",))
def stirling_detached(call: Poisson) -> Tensor:
    """Stirling's term gives the target no gradient."""
    term = stirling(call.y.detach()) if call.full else 0.0
    return reduced(call, call.plain() + term)


@poisson_mutant(
    source="pytorch/pytorch#4132", caught_by=("poisson_nll.full_target_gradient_at_zero",)
)
def stirling_masked_afterwards(call: Poisson) -> Tensor:
    """Stirling's term is computed of every count and masked then: 0 times infinity in backward."""
    y = call.y
    if not call.full:
        return reduced(call, call.losses())
    term = y * y.log() - y + (2 * math.pi * y).log() / 2
    return reduced(call, call.plain() + torch.where(y > 1, term, 0.0))


@poisson_mutant(source="a buffer like the counts", caught_by=("poisson_nll.full_of_integers",))
def stirling_in_the_dtype_of_counts(call: Poisson) -> Tensor:
    """Stirling's term is cut to a whole number where the counts are integers."""
    if call.target.is_floating_point() or not call.full:
        return reduced(call, call.losses())
    return reduced(call, call.plain() + stirling(call.y).to(call.target.dtype))
