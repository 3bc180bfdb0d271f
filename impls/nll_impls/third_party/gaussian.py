"""Gaussian log densities of GPyTorch and Pyro, as losses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

#: A density belongs to one element; neither broadcasts a variance as PyTorch's loss does.
LACKS = ("homoscedastic", "scalar_var", "target_broadcast", "variance_floor")


def load_gpytorch() -> Callable[..., Any]:
    """``FixedNoiseGaussianLikelihood`` of function values: their conditional density."""
    import gpytorch

    def gpytorch_gaussian(
        input: Tensor, target: Tensor, var: Tensor, full: bool = True, reduction: str = "mean"
    ) -> Any:
        size = input.numel()
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(
            var.expand(input.shape).reshape(size)
        )
        density = likelihood(input.reshape(size))
        rows = -density.log_prob(target.reshape(size))
        return _reduced(rows.reshape(input.shape), reduction)

    return functools.partial(gpytorch_gaussian, full=True)


def load_pyro() -> Callable[..., Any]:
    """``-Normal(input, sqrt(var)).log_prob(target)``."""
    from pyro.distributions import Normal

    def pyro_gaussian(
        input: Tensor, target: Tensor, var: Tensor, full: bool = True, reduction: str = "mean"
    ) -> Any:
        density: Any = Normal(input, var.sqrt())
        return _reduced(-density.log_prob(target), reduction)

    return functools.partial(pyro_gaussian, full=True)


def _reduced(rows: Tensor, reduction: str) -> Tensor:
    """By PyTorch's own reductions; the densities have none."""
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"unknown reduction {reduction!r}")
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.mean()


IMPLEMENTATIONS = (
    from_package(
        "gpytorch_gaussian",
        load_gpytorch,
        family="gaussian_nll",
        distribution="gpytorch",
        requires=("gpytorch",),
        lacks=LACKS,
        precision="input_dtype",
        # Its setting min_fixed_noise knows float16, float32 and float64.
        dtypes=("float32", "float16", "float64"),
        url="https://docs.gpytorch.ai/en/stable/likelihoods.html#fixednoisegaussianlikelihood",
    ),
    from_package(
        "pyro_gaussian",
        load_pyro,
        family="gaussian_nll",
        distribution="pyro-ppl",
        requires=("pyro",),
        lacks=LACKS,
        precision="input_dtype",
        promises=("double_backward", "jvp"),
        url="https://docs.pyro.ai/en/stable/distributions.html#normal",
    ),
)
