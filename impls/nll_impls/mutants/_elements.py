"""Right element-wise losses in steps, each of which a mutant may replace by a wrong one.

``*s`` is the shape of the input, which that of the unreduced loss is, too.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..losses import elements
from ..losses.elements import floored, widened
from ..losses.gaussian_homoscedastic import beside
from ..losses.poisson import stirling
from . import _mutant

DIVERGENCES = {"empty_mean": "nan", "half_output": "input"}
HALF_LOG_2PI = math.log(2 * math.pi) / 2


@dataclass(frozen=True, eq=False)
class Elementwise:
    """What every element-wise call has."""

    input: Tensor
    target: Tensor

    @functools.cached_property
    def x(self) -> Tensor:
        """The input in at least float32, widened once, lest its gradient be rounded twice."""
        return widened(self.input)

    @functools.cached_property
    def y(self) -> Tensor:
        """The target in at least float32."""
        return widened(self.target)

    def but(self, **changes: Any) -> Self:
        """The same call with other arguments; what stays is not widened again."""
        other = replace(self, **changes)
        for name, of in (("x", "input"), ("y", "target"), ("given", "var")):
            if of not in changes and hasattr(self, name):
                vars(other)[name] = getattr(self, name)
        return other


@dataclass(frozen=True, eq=False)
class Gaussian(Elementwise):
    """The arguments of a Gaussian NLL."""

    var: Tensor | float
    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"

    def residual(self) -> Tensor:
        """(*s): input less target."""
        return self.x - self.y

    @functools.cached_property
    def given(self) -> Tensor:
        """The variance as it is given, in a shape that broadcasts to the input's."""
        return widened(beside(self.input, self.var))

    def variance(self) -> Tensor:
        """The variance, not below eps; the gradient passes the floor."""
        return floored(self.given, self.eps)

    def constant(self) -> float:
        """What ``full`` adds to each element."""
        return HALF_LOG_2PI if self.full else 0.0

    def losses(self) -> Tensor:
        """(*s): the right losses."""
        return element_losses(self, self.variance().log(), self.quotient())

    def quotient(self) -> Tensor:
        """(*s): the squared residual by the variance."""
        return self.residual().square() / self.variance()


def element_losses(call: Gaussian, log_variance: Tensor, quotient: Tensor) -> Tensor:
    """(*s): the losses that these two halves make."""
    return (log_variance + quotient) / 2 + call.constant()


@dataclass(frozen=True, eq=False)
class Poisson(Elementwise):
    """The arguments of a Poisson NLL."""

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: str = "mean"

    def losses(self) -> Tensor:
        """(*s): the right losses."""
        return self.plain() + self.stirling()

    def plain(self) -> Tensor:
        """(*s): the losses without Stirling's term."""
        x, y = self.x, self.y
        return x.exp() - y * x if self.log_input else x - y * (x + self.eps).log()

    def stirling(self) -> Tensor | float:
        """(*s): what ``full`` adds."""
        return stirling(self.y) if self.full else 0.0


@dataclass(frozen=True, eq=False)
class Binary(Elementwise):
    """The arguments of a binary cross entropy."""

    weight: Tensor | None = None
    reduction: str = "mean"
    pos_weight: Tensor | None = None

    def positive(self) -> Tensor:
        """(*s): what ``-log sigmoid(input)`` is multiplied by."""
        return self.y if self.pos_weight is None else self.y * widened(self.pos_weight)

    def weighed(self, losses: Tensor) -> Tensor:
        """The losses times the weight."""
        return losses if self.weight is None else losses * widened(self.weight)

    def losses(self) -> Tensor:
        """(*s): the right losses."""
        return self.weighed(self.mixed(softplus(-self.x), softplus(self.x)))

    def mixed(self, of_one: Tensor, of_zero: Tensor) -> Tensor:
        """(*s): from the losses of label 1 and of label 0, without the weight."""
        if self.target.shape != self.input.shape:
            raise ValueError("target and input differ in shape")
        return self.positive() * of_one + (1 - self.y) * of_zero


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp x), with the gradient sigmoid(x) also at 0."""
    return torch.logaddexp(x, torch.zeros_like(x))


def reduced(call: Gaussian | Poisson | Binary, losses: Tensor) -> Tensor:
    """The result of the call, from the losses of its elements."""
    return elements.reduced(losses, call.reduction, call.input.dtype)


def from_labels(call: Binary, of_one: Tensor, of_zero: Tensor) -> Tensor:
    """The binary loss, from what labels 1 and 0 cost each element."""
    return reduced(call, call.weighed(call.mixed(of_one, of_zero)))


gaussian_mutant = functools.partial(
    _mutant.mutant, family="gaussian_nll", call=Gaussian, divergences=DIVERGENCES
)
poisson_mutant = functools.partial(
    _mutant.mutant, family="poisson_nll", call=Poisson, divergences=DIVERGENCES
)
binary_mutant = functools.partial(
    _mutant.mutant, family="bce_with_logits", call=Binary, divergences=DIVERGENCES
)
