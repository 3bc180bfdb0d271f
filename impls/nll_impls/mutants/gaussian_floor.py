"""Gaussian NLL: what becomes of a variance below eps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._elements import Gaussian, element_losses, gaussian_mutant, reduced


def _of(call: Gaussian, variance: Tensor) -> Tensor:
    """The loss under this variance, taken as it is."""
    quotient = call.residual().square() / variance
    return reduced(call, element_losses(call, variance.log(), quotient))


def _without_floor(call: Gaussian) -> Tensor:
    call.variance()  # refuses negative ones
    return call.given


@gaussian_mutant(
    source="pytorch/pytorch#190058",
    caught_by=("gaussian_nll.floor_is_no_addend", "gaussian_nll.variance_floor"),
)
def eps_added(call: Gaussian) -> Tensor:
    """Eps is added to every variance instead of being its floor."""
    return _of(call, _without_floor(call) + call.eps)


@gaussian_mutant(
    source="unifyai/ivy#11994, #11530",
    caught_by=("gaussian_nll.floor_gradient",),
)
def floor_stops_gradient(call: Gaussian) -> Tensor:
    """Autograd sees the clamp: a variance below eps gets no gradient."""
    return _of(call, _without_floor(call).clamp(min=call.eps))


@gaussian_mutant(
    source="research/divergences.md, pitfall 5",
    caught_by=("gaussian_nll.var_unchanged",),
)
def clamped_in_place(call: Gaussian) -> Tensor:
    """The caller's variance is raised to eps."""
    loss = reduced(call, call.losses())
    if isinstance(call.var, Tensor):
        call.var.data.clamp_(min=call.eps)
    return loss


@gaussian_mutant(
    source="implementations of the formula by hand",
    caught_by=("gaussian_nll.variance_floor", "gaussian_nll.default_floor"),
)
def logarithm_not_floored(call: Gaussian) -> Tensor:
    """The floor holds in the quotient; the logarithm is that of the variance plus 1e-12."""
    given = _without_floor(call)
    return reduced(call, element_losses(call, (given + 1e-12).log(), call.quotient()))


@gaussian_mutant(
    source="implementations of the formula by hand",
    caught_by=("gaussian_nll.default_floor",),
)
def default_of_1e_4(call: Gaussian) -> Tensor:
    """The default floor is 1e-4."""
    return reduced(call, call.but(eps=1e-4 if call.eps == 1e-6 else call.eps).losses())


@gaussian_mutant(
    source="implementations of the formula by hand",
    caught_by=("gaussian_nll.floor_everywhere",),
)
def eps_above_one_ignored(call: Gaussian) -> Tensor:
    """An eps above 1 is taken for a mistake and replaced by the default."""
    return reduced(call, call.but(eps=call.eps if call.eps <= 1 else 1e-6).losses())


class _GradientOfGiven(torch.autograd.Function):
    """The floor, behind which backward uses the variance as it was given."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(given)
        return given.clamp(min=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (given,) = ctx.saved_tensors
        return torch.where(given > 0, grads[0], 0.0), None


@gaussian_mutant(
    source="implementations of the formula by hand",
    caught_by=("gaussian_nll.default_floor", "gaussian_nll.floor_gradient"),
)
def zero_variance_gets_no_gradient(call: Gaussian) -> Tensor:
    """Only a variance of exactly zero gets no gradient through the floor."""
    floored: Tensor = _GradientOfGiven.apply(_without_floor(call), call.eps)  # type: ignore[no-untyped-call]
    return _of(call, floored)


@gaussian_mutant(
    source="implementations with a branch for numbers",
    caught_by=("gaussian_nll.scalar_variance_below_eps",),
)
def number_not_floored(call: Gaussian) -> Tensor:
    """A variance that is a Python number is taken as it is, zero too."""
    if isinstance(call.var, Tensor):
        return reduced(call, call.losses())
    return _of(call, _without_floor(call))
