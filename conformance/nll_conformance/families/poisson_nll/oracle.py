"""Exact value, gradients and admissible error of ``torch.nn.functional.poisson_nll_loss``.

With x = input, y = target, z = x + eps, L = log z, and St = y log y - y + log(2 pi y) / 2
where y > 1, else 0:

    log_input:  loss = exp(x) - y x [+ St],    d input = exp(x) - y,    d target = -x
    otherwise:  loss = x - y L [+ St],         d input = 1 - y / z,     d target = -L
    full adds log y + 1 / (2 y) to d target where y > 1

Errors, first order, in roundoffs u of the compute dtype (``K0``, ``K1`` of an exponential,
``KL0``, ``KL1`` of a logarithm as in :mod:`nll_conformance.softmax`), A the sum of the
absolute values of the addends:

- log_input: (K0 + K1 |x|) e^x + 2 |y x| + 2 A; the gradient (K0 + K1 |x|) e^x + 4 (e^x + |y|);
- otherwise |y| (KL1 |L| + KL0) + 3 A, and |y| rho, rho the relative error of z: u, u_rows,
  eps rounded to the dtype; the gradient 6 (1 + |y| / z) and rho |y| / z;
- full: 8 (T + 1), T = y log y + y + |log(2 pi y)| / 2;
- 16-bit eager steps: 6 A + 6 (T + 1), 4 for gradients.

Where z would vanish in the dtype, log z is no rounded number any more and nothing is
allowed for it.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from ... import bounds
from ...bounds import OWN, U64, Arithmetic
from ...elementwise_truth import Elements, Slope, assemble, option_error, tiny
from ...model import Case, Precision
from ...softmax import K0, K1, KL0, KL1
from ...truth import Truth


@dataclass(frozen=True)
class Parts:
    """x, y, z = exp(x) or x + eps, the logarithm that y is multiplied with, rho; shape ``S``.

    ``stirling`` and ``stirling_size`` are St and T, zero where it does not count.
    """

    x: torch.Tensor
    y: torch.Tensor
    z: torch.Tensor
    log: torch.Tensor
    off: torch.Tensor
    stirling: torch.Tensor
    stirling_size: torch.Tensor
    full: bool

    @property
    def counted(self) -> torch.Tensor:
        """Where Stirling's term counts."""
        return (self.y > 1.0) & self.full

    def slope(
        self,
        value: torch.Tensor,
        error: torch.Tensor,
        size: torch.Tensor,
        peak: torch.Tensor,
        how: Arithmetic,
    ) -> Slope:
        """A slope of the input's shape, with 16-bit steps and the oracle's own error."""
        error = error + (4 * how.rows.u + 4 * OWN * U64) * size
        return Slope(value, error, size, size + 1, peak, self.x.shape)


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``arguments`` are the tensors of the call, already rounded to their dtypes;
    ``output_dtype`` is the dtype of the loss, gradients have their tensor's.
    """
    how = bounds.arithmetic(arguments["input"].dtype, precision)
    parts = read(case, arguments, how)
    logarithmic = bool(case.option("log_input", True))
    of_input = _log_rate_slope if logarithmic else _rate_slope
    slopes: dict[str, Callable[[], Slope]] = {
        "input": partial(of_input, parts, how),
        "target": partial(_target_slope, parts, how, logarithmic),
    }
    elements = _elements(parts, how, logarithmic)
    output = bounds.FORMATS[output_dtype]
    return assemble(case, arguments, elements, slopes, how, output, divergences)


def read(case: Case, arguments: Mapping[str, torch.Tensor], how: Arithmetic) -> Parts:
    """The quantities of the formula, in float64."""
    x, y = (arguments[name].detach().cpu().double() for name in ("input", "target"))
    full, off = bool(case.option("full", False)), torch.zeros_like(x)
    if case.option("log_input", True):
        z, log = x.exp(), x
    else:
        eps = float(case.option("eps", 1e-8))
        z = x + eps
        log = z.log()
        lost = how.rows.tiny / z
        off = how.compute.u + how.rows.u + torch.where(lost < 0.5, lost, 0.0)
        off = off + option_error(eps, arguments["input"].dtype, how) / z
    stirling, size = torch.zeros_like(y), torch.zeros_like(y)
    if full:
        safe = y.clamp(min=1.0)
        entropy, root = safe * safe.log(), (2 * math.pi * safe).log() / 2
        stirling = torch.where(y > 1.0, entropy - safe + root, 0.0)
        size = torch.where(y > 1.0, entropy + safe + root, 0.0)
    return Parts(x, y, z, log, off, stirling, size, full)


def _elements(parts: Parts, how: Arithmetic, logarithmic: bool) -> Elements:
    u, x, y = how.compute.u, parts.x, parts.y
    rate = parts.z if logarithmic else x
    product = y * parts.log
    size = rate.abs() + product.abs() + parts.stirling_size
    if logarithmic:
        error = u * ((K0 + K1 * x.abs()) * rate + 2 * product.abs() + 2 * size)
    else:
        error = u * (y.abs() * (KL1 * parts.log.abs() + KL0) + 3 * size)
        error = error + y.abs() * parts.off
    error = error + (6 * how.rows.u + 4 * OWN * U64) * size + 4 * tiny(how) * (1 + y.abs())
    more = (8 * u + 6 * how.rows.u) * (parts.stirling_size + 1)
    error = error + torch.where(parts.counted, more, 0.0)
    value = rate - product + parts.stirling
    return Elements(value, error, size, size)


def _log_rate_slope(parts: Parts, how: Arithmetic) -> Slope:
    """The derivative by a log rate: e^x - y."""
    size = parts.z + parts.y.abs()
    error = how.compute.u * ((K0 + K1 * parts.x.abs()) * parts.z + 4 * size)
    return parts.slope(parts.z - parts.y, error, size, size, how)


def _rate_slope(parts: Parts, how: Arithmetic) -> Slope:
    """The derivative by a rate: 1 - y / (x + eps)."""
    share = parts.y.abs() / parts.z
    size = 1 + share
    error = how.compute.u * 6 * size + 1.1 * parts.off * share
    peak = torch.maximum(size, 1 / parts.z)
    return parts.slope(1 - parts.y / parts.z, error, size, peak, how)


def _target_slope(parts: Parts, how: Arithmetic, logarithmic: bool) -> Slope:
    """The derivative by the target: -log rate, with Stirling's log y + 1 / (2 y)."""
    safe = parts.y.clamp(min=1.0)
    value, size = -parts.log, parts.log.abs()
    error = 4 * how.compute.u * size
    if not logarithmic:
        error = error + how.compute.u * (KL1 * size + KL0) + 1.1 * parts.off
    more, unit = safe.log() + 0.5 / safe, 8 * how.compute.u + 4 * how.rows.u
    value = value + torch.where(parts.counted, more, 0.0)
    size = size + torch.where(parts.counted, safe.log() + 3, 0.0)
    error = error + torch.where(parts.counted, unit * (safe.log() + 3), 0.0)
    return parts.slope(value, error, size, size, how)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression, for second derivatives; float64."""
    x, y = tensors["input"], tensors["target"]
    if case.option("log_input", True):
        loss = x.exp() - y * x
    else:
        loss = x - y * (x + float(case.option("eps", 1e-8))).log()
    if case.option("full"):
        safe = y.clamp(min=1.0)
        term = safe * safe.log() - safe + (2 * math.pi * safe).log() / 2
        loss = loss + torch.where(y > 1.0, term, 0.0)
    if case.reduction == "none":
        return loss
    return loss.sum() if case.reduction == "sum" else loss.mean()
