"""Truth of losses that judge each element by itself, from their terms and slopes.

The loss of an element is a function of the numbers at its place.  A family gives, in
float64 and in the shape of the unreduced loss (``S``), what one element's loss is
(``Elements``) and its derivative by one tensor (``Slope``), each with the error of any
correct algorithm; here they meet the reduction, the upstream gradient and the output's
rounding.

A gradient entry of a tensor that was broadcast is the sum over the K elements that it
served.  With s = upstream, or upstream / N under ``mean``, its error is

    sum |s| (error + (4 u + 4 u_rows) size)             s is a quotient of two numbers
    + (tiny + tiny_rows) sum (size + |s| spill + late + 2)  an intermediate may underflow
    + (u K + [K > 1] 2 u_rows + cascade(K) u_sums) sum |s| size

and then the rounding to the tensor's dtype.  Nothing is judged where an intermediate of the
documented algorithm may overflow the dtype in which a declared precision may keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from . import bounds
from .bounds import INF, OWN, U64, Arithmetic, Denominator, Format, Terms
from .model import Case
from .recipes import build
from .truth import Exact, Truth


@dataclass(frozen=True)
class Elements:
    """The unreduced loss, each tensor of shape ``S``.

    ``error`` is the admissible absolute error before any reduction, ``size`` the sum of
    the absolute values of the addends, ``peak`` the largest intermediate number.
    """

    value: torch.Tensor
    error: torch.Tensor
    size: torch.Tensor
    peak: torch.Tensor


@dataclass(frozen=True)
class Slope:
    """The derivative of the unreduced loss by one tensor, each of shape ``S``.

    ``error``, ``size`` and ``peak`` are as for ``Elements``, for an upstream gradient of
    one; ``spill`` is what an intermediate's underflow is multiplied with, ``late`` where the
    upstream gradient has come in before (the default: nothing more than that gradient's own
    underflow).  ``shape`` is the tensor's own shape with the dimensions of size 1 that
    broadcasting puts in.
    """

    value: torch.Tensor
    error: torch.Tensor
    size: torch.Tensor
    spill: torch.Tensor
    peak: torch.Tensor
    shape: torch.Size
    late: torch.Tensor | float = 0.0


def largest(how: Arithmetic) -> float:
    """The largest number that every intermediate of a declared precision may hold."""
    return min(how.rows.largest, how.compute.largest)


def tiny(how: Arithmetic) -> float:
    """The error of one underflow."""
    return how.rows.tiny + how.compute.tiny


def assemble(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    elements: Elements,
    slopes: Mapping[str, Callable[[], Slope]],
    how: Arithmetic,
    output: Format,
    divergences: Mapping[str, str],
) -> Truth:
    """The truth of ``case``; ``slopes`` are asked for the tensors that require a gradient."""
    unknown = elements.value.isnan() & any(bool(t.isnan().any()) for t in arguments.values())
    value = _value(case, elements, unknown, how, output, divergences)
    if case.upstream is None:
        return Truth(value)
    scale = build(case.upstream).detach().double()
    count = elements.value.numel()
    if case.reduction == "mean":
        scale = scale / (count or torch.nan)
    scale = scale.expand(elements.value.shape)
    grads = {
        name: _gradient(slopes[name](), scale, how, arguments[name])
        for name, recipe in case.recipe
        if recipe.grad
    }
    return Truth(value, grads)


def _value(
    case: Case,
    elements: Elements,
    unknown: torch.Tensor,
    how: Arithmetic,
    output: Format,
    divergences: Mapping[str, str],
) -> Exact:
    """The loss; ``unknown`` elements are NaN because a number of theirs is."""
    error = elements.error.masked_fill(~(elements.peak <= largest(how)), INF)
    error = error.masked_fill(unknown, 0.0)
    size = elements.size.masked_fill(unknown, 0.0).reshape(-1)
    terms = Terms(elements.value.reshape(-1), error.reshape(-1), size, size, size)
    count = elements.value.numel()
    if case.reduction == "none":
        exact = bounds.each(terms, output)
        assert exact.condition is not None
        parts = (exact.value, exact.bound, exact.condition)
        return Exact(*(part.reshape(elements.value.shape) for part in parts))
    if case.reduction == "sum":
        return bounds.total(terms, how, output)
    if not count and divergences.get("empty_mean", "nan") == "zero":
        return bounds.scalar(0.0)
    below = Denominator(float(count), float(count), False, count, count)
    return bounds.mean(terms, below, how, output)


def _gradient(slope: Slope, scale: torch.Tensor, how: Arithmetic, tensor: torch.Tensor) -> Exact:
    """One tensor's gradient, in its own shape."""
    own, strength = tensor.shape, scale.abs()

    def gather(part: torch.Tensor) -> torch.Tensor:
        wide = part.expand(scale.shape)
        return wide.sum_to_size(slope.shape).reshape(own)

    unit = 4 * how.compute.u + 4 * how.rows.u + 2 * OWN * U64
    error = strength * (slope.error + unit * slope.size)
    error = error + tiny(how) * (slope.size + strength * slope.spill + slope.late + 2.0)
    # intermediates may be formed before or after the upstream gradient comes in
    peak = torch.maximum(slope.peak, slope.size) * strength.clamp(min=1.0)
    error = error.masked_fill(~(peak <= largest(how)) | error.isnan(), INF)
    value, size, total = gather(scale * slope.value), gather(strength * slope.size), gather(error)
    terms = scale.numel() // max(tensor.numel(), 1)
    if terms > 1:
        unit = how.compute.u * terms + OWN * U64 * bounds.own_height(terms)
        unit += 2 * how.rows.u + how.sums.u * bounds.cascade(terms)
        total = total + unit * (size + total)
        total = total.masked_fill(~(size <= largest(how)), INF)
    bound = bounds.rounded(value, total, bounds.FORMATS[tensor.dtype])
    return Exact(value, bound, bounds.nonzero(size))


def nearest(option: float, dtype: torch.dtype) -> float:
    """How far an option moves when it is rounded to a dtype in which it does not vanish."""
    there = float(torch.tensor(option, dtype=torch.float64).to(dtype))
    return abs(there - option) if there else 0.0


def option_error(option: float, dtype: torch.dtype, how: Arithmetic) -> float:
    """The error of a Python number that the precision lets one round to ``dtype``.

    Rounding is to the nearest number of the dtype, subnormals included; an option that
    would vanish altogether must not be rounded.
    """
    low = nearest(option, dtype) if how.rows.u else 0.0
    return max(low, nearest(option, bounds.compute_dtype(dtype)))
