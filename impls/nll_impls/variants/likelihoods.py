"""Gaussian and Poisson likelihoods by other routes: distributions, log deviations, float64."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.elements import floored, reduced, widened
from ..losses.gaussian_homoscedastic import beside
from ..losses.poisson import stirling
from ._declare import variant

#: What torch.distributions computes in float64 is exact beside any of these.
SHORTER = ("float32", "bfloat16", "float16")


def gaussian_in_double(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """PyTorch's own loss of float64 tensors; a variance has at most one size of 1."""
    wide = var.double() if isinstance(var, Tensor) else var
    loss = F.gaussian_nll_loss(
        input.double(),
        target.double(),
        wide,
        full=full,
        eps=eps,
        reduction=reduction,
    )
    return loss.to(input.dtype)


def gaussian_by_deviation(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """With s the logarithm of the deviation: s + ((x - y) exp(-s))^2 / 2."""
    s = floored(widened(beside(input, var)), eps).log() / 2
    standardised = (widened(input) - widened(target)) * (-s).exp()
    losses = s + standardised.square() / 2
    return reduced(losses + (math.log(2 * math.pi) / 2 if full else 0.0), reduction, input.dtype)


def gaussian_by_rsqrt(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The reciprocal root multiplies the residual, and its logarithm is that of the variance."""
    root = floored(widened(beside(input, var)), eps).rsqrt()
    standardised = (widened(input) - widened(target)) * root
    losses = standardised.square() / 2 - root.log()
    return reduced(losses + (math.log(2 * math.pi) / 2 if full else 0.0), reduction, input.dtype)


def gaussian_by_distribution(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Minus ``torch.distributions.Normal.log_prob`` in float64, less its constant."""
    deviation = floored(beside(input, var).double(), eps).sqrt()
    x = input.double()
    normal = torch.distributions.Normal(x, deviation.expand_as(x), validate_args=False)
    losses = -normal.log_prob(target.double())  # type: ignore[no-untyped-call]
    constant = 0.0 if full else math.log(2 * math.pi) / 2
    return reduced(losses - constant, reduction, input.dtype)


def poisson_in_double(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """PyTorch's own loss of float64 tensors, Stirling's term added apart."""
    wide = target.double()  # once: else autograd adds up two gradients in 16 bits
    losses = F.poisson_nll_loss(
        input.double(), wide, log_input=log_input, eps=eps, reduction="none"
    )
    term = stirling(wide) if full else 0.0
    return reduced(losses + term, reduction, input.dtype)


def poisson_by_xlogy(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """``xlogy`` of counts and rates."""
    x, y = widened(input), widened(target)
    losses = x.exp() - y * x if log_input else x - torch.xlogy(y, x + eps)
    return reduced(losses + (stirling(y) if full else 0.0), reduction, input.dtype)


def poisson_by_distribution(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Minus ``torch.distributions.Poisson.log_prob`` in float64, less the factorial."""
    x, y = input.double(), target.double()
    rate = x.exp() if log_input else x + eps
    poisson = torch.distributions.Poisson(rate, validate_args=False)
    losses = -poisson.log_prob(y) - (y + 1).lgamma()  # type: ignore[no-untyped-call]
    losses = losses if log_input else losses - eps
    return reduced(losses + (stirling(y) if full else 0.0), reduction, input.dtype)


def poisson_by_power(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Rates in float64 through exp2 and log2."""
    x, y = input.double(), target.double()
    if log_input:
        losses = torch.exp2(x / math.log(2.0)) - y * x
    else:
        losses = x - y * math.log(2.0) * torch.log2(x + eps)
    return reduced(losses + (stirling(y) if full else 0.0), reduction, input.dtype)


IMPLEMENTATIONS = (
    *(
        variant(__name__, f"gaussian_{name}", family="gaussian_nll")
        for name in ("in_double", "by_deviation", "by_rsqrt")
    ),
    variant(__name__, "gaussian_by_distribution", family="gaussian_nll", dtypes=SHORTER),
    *(
        variant(__name__, f"poisson_{name}", family="poisson_nll")
        for name in ("in_double", "by_xlogy")
    ),
    variant(__name__, "poisson_by_power", family="poisson_nll", dtypes=SHORTER),
    # the rate of a log rate below -745 is 0, and its logarithm lost
    variant(
        __name__,
        "poisson_by_distribution",
        family="poisson_nll",
        dtypes=SHORTER,
        lacks=("log_rate",),
    ),
)
