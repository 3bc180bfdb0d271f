"""Roundings that a correct loss may commit, and what reductions make of them.

Everything here is shared by the families: number formats, the roundings that a declared
precision allows, and the error of a sum or a mean of row losses.  Bounds are deterministic
(any order of summation, any data): Higham, *Accuracy and Stability of Numerical
Algorithms*, section 4.2, with one term for the oracle's own float64 arithmetic.

``N`` is the number of rows.  All tensors are float64; ``error`` always means an admissible
absolute error, infinite where nothing can be derived, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch

from .model import Precision
from .truth import Exact

INF: Final = math.inf
#: Unit roundoff of the oracle's own arithmetic.
U64: Final = 2.0**-53
#: Its a-priori error is charged this many times over.
OWN: Final = 4.0


class Format(NamedTuple):
    """Unit roundoff, absolute error of an underflow, largest finite number of a dtype."""

    u: float
    tiny: float
    largest: float


#: A step that is not rounded.
EXACT: Final = Format(0.0, 0.0, INF)
#: Subnormals may be flushed to zero, except in float16, where nobody does.
FORMATS: Final = {
    torch.float64: Format(2.0**-53, 2.0**-1022, torch.finfo(torch.float64).max),
    torch.float32: Format(2.0**-24, 2.0**-126, torch.finfo(torch.float32).max),
    torch.bfloat16: Format(2.0**-8, 2.0**-126, torch.finfo(torch.bfloat16).max),
    torch.float16: Format(2.0**-11, 2.0**-24, torch.finfo(torch.float16).max),
}


class Arithmetic(NamedTuple):
    """Where a declared precision may round.

    ``compute`` is the format of all internals; ``rows`` that of log-probabilities, row
    losses and 1/N; ``sums`` that of the sum of exponentials and of reductions over rows.
    The last two are ``EXACT`` where they add nothing to ``compute``.
    """

    compute: Format
    rows: Format
    sums: Format


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which an input of ``dtype`` is at least computed."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def arithmetic(dtype: torch.dtype, precision: Precision) -> Arithmetic:
    """The roundings allowed to inputs of ``dtype``; only 16-bit inputs know precisions."""
    compute = FORMATS[compute_dtype(dtype)]
    own = EXACT if dtype == compute_dtype(dtype) else FORMATS[dtype]
    return Arithmetic(
        compute,
        EXACT if precision == "fp32_inside" else own,
        own if precision == "input_dtype" else EXACT,
    )


def own_height(terms: int) -> int:
    """Roundings on the way of one term through the oracle's own sum of ``terms``.

    A quarter of what torch's cascade over blocks may need: ``OWN`` multiplies it.
    """
    return min(max(terms - 1, 0), 16 + math.ceil(math.log2(max(terms, 1))))


def cascade(terms: int) -> int:
    """Roundings in a 16-bit blocked sum (blocks of 16, as torch's cascade) of ``terms``.

    No order of additions needs more than ``terms - 1``.
    """
    return min(max(terms - 1, 0), 16 * math.ceil(math.log(max(terms, 1), 16)) + 8)


def rounded(value: torch.Tensor, error: torch.Tensor, output: Format) -> torch.Tensor:
    """``error`` after the last rounding, to the output's dtype; any shape.

    Infinite where the output may overflow, 0 where ``value`` is itself NaN or infinite:
    non-finite numbers are compared by equality.
    """
    size = value.abs()
    bound = error + output.u * (size + error) + output.tiny
    bound = bound.masked_fill(~(size + bound <= output.largest), INF)
    return bound.masked_fill(~value.isfinite() & (error < INF), 0.0)


@dataclass(frozen=True)
class Terms:
    """The row losses of a call, each tensor ``(N,)``; zero on rows that do not count.

    ``size`` is the sum of the absolute values of a row's addends (with weights of both
    signs larger than ``|value|``), ``peak`` the largest number met while computing it (in
    the documented algorithm), ``condition`` the row's condition.
    """

    value: torch.Tensor
    error: torch.Tensor
    size: torch.Tensor
    peak: torch.Tensor
    condition: torch.Tensor


@dataclass(frozen=True)
class Denominator:
    """What ``mean`` divides by: its value, the sum of ``|weight|``, whether it is summed.

    ``rows`` is N, ``kept`` the number of rows that count.
    """

    value: float
    size: float
    weighted: bool
    rows: int
    kept: int

    def relative_error(self, how: Arithmetic) -> float:
        """Relative error of the summed weights: u (N-1) sum|w| / |sum w|, or infinity."""
        if not self.weighted:
            return 0.0
        if self.value == 0.0:
            return INF
        unit = how.compute.u * (self.rows - 1) + how.rows.u + OWN * U64 * own_height(self.rows)
        unit += how.sums.u * cascade(self.rows)
        relative = unit * self.size / abs(self.value)
        # beyond one half the first-order form and the sign are lost
        return relative / (1.0 - relative) if relative < 0.5 else INF

    def overflows(self, how: Arithmetic) -> bool:
        """Whether the sum of weights, or the count, may not fit the dtype it is kept in."""
        return self.size > min(how.rows.largest, how.compute.largest)


def each(terms: Terms, output: Format) -> Exact:
    """Reduction ``none``: E = E_n + u_o (|row| + E_n) + tiny_o; shape ``(N,)``."""
    bound = rounded(terms.value, terms.error, output)
    return Exact(terms.value, bound, nonzero(terms.condition))


def total(terms: Terms, how: Arithmetic, output: Format) -> Exact:
    """Reduction ``sum``; shape ``()``.

    E = sum E_n + u (N+1) sum(size + E_n), the 16-bit precisions adding 2 u_rows and
    ``cascade(N)`` u_sums times the same sum, then the output's rounding.
    """
    value, error, condition = _sum(terms, how)
    return _scalar(value, error, condition, output)


def mean(terms: Terms, below: Denominator, how: Arithmetic, output: Format) -> Exact:
    """Reduction ``mean``; shape ``()``: E_sum / den + |out| rho, then the output's rounding.

    rho = u (N+2) + 3 u_rows + (cascade(N) + 3) u_sums, amplified by sum|w| / |sum w|; the
    cascade only where the denominator is a sum of weights or too large a count.
    A mean over no row is NaN (the caller knows the other legal values); one over rows of
    no weight is 0/0, NaN too.
    """
    value, error, condition = _sum(terms, how)
    if below.kept == 0:
        return _scalar(math.nan, 0.0, 0.0, output)
    if below.value == 0.0:
        return _over_zero(below, float(terms.size.sum()), output)
    out, den = value / below.value, abs(below.value)
    rho = how.compute.u * (below.rows + 2) + 3 * how.rows.u
    if below.weighted or below.size * how.sums.u > 1.0:  # smaller counts are exact
        rho += how.sums.u * cascade(below.rows)
    rho += 3 * how.sums.u + OWN * U64 * (own_height(below.rows) + 1)
    rho *= below.size / den
    if not rho < 0.5 or below.overflows(how):
        error = INF
    elif math.isfinite(out):
        error = (error / den + rho * abs(out)) / (1.0 - rho)
    return _scalar(out, error, condition / den, output)


def declared_mean(
    terms: Terms,
    below: Denominator,
    how: Arithmetic,
    output: Format,
    divergences: Mapping[str, str],
) -> Exact:
    """:func:`mean`, or the 0 of who declares it for a mean over nothing.

    ``all_ignored_mean`` and ``empty_mean`` of ``divergences`` are "nan" or "zero"; who takes no
    empty batch has the former alone.  What guards against nothing counted may look at the
    weights: then no weight is not judged.
    """
    ignored = divergences.get("all_ignored_mean", "nan")
    if (ignored if below.rows else divergences.get("empty_mean", ignored)) == "zero":
        if below.kept == 0:
            return scalar(0.0)
        if below.weighted and below.size == 0.0:
            return _scalar(math.nan, INF, 0.0, output)
    return mean(terms, below, how, output)


def scalar(value: float) -> Exact:
    """A number that is known exactly (NaN and zero of empty means); shape ``()``."""
    return _scalar(value, 0.0, 0.0, EXACT)


def nonzero(condition: torch.Tensor) -> torch.Tensor:
    """1 in place of 0 (or NaN): an entry that has to be exact still has error units."""
    return condition.masked_fill(~(condition > 0), 1.0)


def _sum(terms: Terms, how: Arithmetic) -> tuple[float, float, float]:
    """Value, error and condition of the sum of rows."""
    rows = terms.value.numel()
    kept = terms.value.isfinite()
    size = float((terms.size + terms.error).where(kept, 0.0).sum())
    unit = how.compute.u * rows + OWN * U64 * own_height(rows)
    unit += 2 * how.rows.u + how.sums.u * cascade(rows)
    error = float(terms.error.sum()) + unit * size
    peak = float(terms.peak.sum()) * (1.0 + unit) + error
    if peak > min(how.rows.largest, how.compute.largest):
        error = INF  # an intermediate sum may overflow although the result would fit
    return float(terms.value.sum()), error, float(terms.condition.sum())


def _over_zero(below: Denominator, size: float, output: Format) -> Exact:
    """A mean whose weights sum to zero: 0/0 is NaN where all of them are zero.

    Else unjudged: the sum may be zero by cancelling alone, and a smoothed loss, whose other
    classes have weights, is infinite in one division and NaN in two (PyTorch's).
    """
    certain = below.size == 0.0 and size == 0.0
    return _scalar(math.nan, 0.0 if certain else INF, 0.0, output)


def _scalar(value: float, error: float, condition: float, output: Format) -> Exact:
    """An ``Exact`` of shape ``()``; an unjudged NaN becomes 0, so that nothing equals it."""
    if math.isnan(error):
        error = INF
    if math.isnan(value) and error == INF:
        value = 0.0
    # as ``rounded``, in plain numbers, which is faster
    bound = error + output.u * (abs(value) + error) + output.tiny
    if math.isfinite(value):
        bound = bound if abs(value) + bound <= output.largest else INF
    else:
        bound = 0.0 if error < INF else INF
    condition = condition if condition > 0 else 1.0
    return Exact(*torch.tensor((value, bound, condition), dtype=torch.float64).unbind())
