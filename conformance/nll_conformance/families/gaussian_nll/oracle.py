"""Exact value, gradients and admissible error of ``torch.nn.functional.gaussian_nll_loss``.

With r = input - target, v = max(var, eps), q = r^2 / v and lg = |log v|:

    loss    = (log v + q) / 2 [+ log(2 pi) / 2]
    d input = r / v = -d target,    d var = (1 - q) / (2 v), also where the floor holds

Errors, first order, in roundoffs u of the compute dtype (``KL0``, ``KL1`` of a logarithm as
in :mod:`nll_conformance.softmax`; rsqrt within 4 u):

- log v / 2: 3 lg + 3.25, also as log sqrt(v);
- q: 7 for r^2 / v and (r / sqrt v)^2, 13 for (r rsqrt v)^2, 6 + 2 lg where 1/v is
  exp(-log v), hence 14 + 2 lg, and 3 A for sums and products, A = (lg + q) / 2 [+ 0.92];
- r / v: 12 + 2 lg; d var: 26 + 4 lg relative to (1 + q) / (2 v), as 1 - q may cancel;
- 16-bit eager steps: 6 A + 2 q; 4 for r / v; 8 for d var;
- eps rounded to the dtype moves v by delta: (1 + q) / 2, r / v, (1 + 2 q) / (2 v) times that.

A squared residual or a variance's reciprocal beyond the dtype's range is not judged where
the declared precision may keep it there.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.GaussianNLLLoss.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch

from ... import bounds
from ...bounds import OWN, U64, Arithmetic
from ...elementwise_truth import Elements, Slope, assemble, option_error, tiny
from ...model import Case, Precision
from ...truth import Truth

HALF_LOG_2PI: Final = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Parts:
    """r, v, q, lg and delta as the module says, each of the input's shape ``S``.

    ``var_shape`` and ``target_shape`` are those tensors' shapes beside ``S``.
    """

    residual: torch.Tensor
    var: torch.Tensor
    quotient: torch.Tensor
    log_var: torch.Tensor
    moved: torch.Tensor
    full: bool
    var_shape: torch.Size
    target_shape: torch.Size

    @property
    def size(self) -> torch.Tensor:
        """A, the sum of the absolute values of the addends."""
        return (self.log_var.abs() + self.quotient) / 2 + self.full * HALF_LOG_2PI


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
    slopes = {
        "input": partial(_residual_slope, parts, how, 1.0, parts.residual.shape),
        "target": partial(_residual_slope, parts, how, -1.0, parts.target_shape),
        "var": partial(_var_slope, parts, how),
    }
    output = bounds.FORMATS[output_dtype]
    return assemble(case, arguments, _elements(parts, how), slopes, how, output, divergences)


def broadcast_shape(var: torch.Size, shape: torch.Size) -> torch.Size:
    """The shape of ``var`` beside an input of ``shape``: a missing last dimension is one."""
    return torch.Size((*var, 1)) if var == shape[:-1] and var != shape else var


def aligned(tensor: torch.Size, shape: torch.Size) -> torch.Size:
    """The tensor's shape with the leading ones that broadcasting to ``shape`` puts in."""
    return torch.Size((1,) * (len(shape) - len(tensor)) + tuple(tensor))


def read(case: Case, arguments: Mapping[str, torch.Tensor], how: Arithmetic) -> Parts:
    """The quantities of the formula, in float64."""
    x, y, var = (arguments[n].detach().cpu().double() for n in ("input", "target", "var"))
    eps = float(case.option("eps", 1e-6))
    shape = aligned(broadcast_shape(var.shape, x.shape), x.shape)
    wide = var.reshape(shape).expand(x.shape)
    v = wide.clamp(min=eps)
    residual = x - y
    off = option_error(eps, arguments["var"].dtype, how)
    moved = torch.where(wide <= eps + off, off / v, 0.0)
    return Parts(
        residual, v, residual.square() / v, v.log(), moved, bool(case.option("full", False)),
        shape, aligned(y.shape, x.shape),
    )  # fmt: skip


def _elements(parts: Parts, how: Arithmetic) -> Elements:
    u, low, q = how.compute.u, how.rows.u, parts.quotient
    lg, size = parts.log_var.abs(), parts.size
    error = u * (3 * lg + 3.25 + (7 + lg) * q + 3 * size) + low * (6 * size + 2 * q)
    error = error + parts.moved * (1 + q) / 2 + tiny(how) * (1 / parts.var + 2)
    error = error + OWN * U64 * (lg + 2 * q + size)
    value = (parts.log_var + q) / 2 + parts.full * HALF_LOG_2PI
    peak = torch.maximum(torch.maximum(parts.residual.square(), q), size)
    return Elements(value, error, size, peak)


def _residual_slope(parts: Parts, how: Arithmetic, sign: float, shape: torch.Size) -> Slope:
    """The derivative by the input (``sign`` 1) or the target (-1)."""
    value, inverse = parts.residual / parts.var, 1 / parts.var
    size = value.abs()
    unit = how.compute.u * (12 + 2 * parts.log_var.abs()) + 4 * how.rows.u
    error = size * (unit + parts.moved + 3 * OWN * U64)
    peak = torch.maximum(inverse, parts.residual.abs())
    # with the upstream gradient s formed as 2 r (s / v)
    late = 2 * parts.residual.abs()
    return Slope(sign * value, error, size, inverse + 1, peak, shape, late)


def _var_slope(parts: Parts, how: Arithmetic) -> Slope:
    q, inverse = parts.quotient, 1 / parts.var
    size = (1 + q) * inverse / 2
    unit = how.compute.u * (26 + 4 * parts.log_var.abs()) + 8 * how.rows.u
    error = size * (unit + 5 * OWN * U64) + parts.moved * (1 + 2 * q) * inverse * 0.55
    peak = torch.maximum((1 + q) * inverse, parts.residual.square())
    spill = inverse.square() + inverse + 1
    # q (s / v), or (s q) / v
    late = q + inverse
    return Slope((1 - q) * inverse / 2, error, size, spill, peak, parts.var_shape, late)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression, for second derivatives; float64."""
    x, y, var = tensors["input"], tensors["target"], tensors["var"]
    shape = aligned(broadcast_shape(var.shape, x.shape), x.shape)
    floor = float(case.option("eps", 1e-6))
    var = var.reshape(shape)
    v = var + (var.clamp(min=floor) - var).detach()
    loss = (v.log() + (x - y).square() / v) / 2 + bool(case.option("full")) * HALF_LOG_2PI
    if case.reduction == "none":
        return loss
    return loss.sum() if case.reduction == "sum" else loss.mean()
