"""Logits of a head and the gradients that pass through it: exact values, admissible errors.

``z_nj = sum_k h_nk w_jk + b_j`` for ``N`` rows, ``C`` classes, ``H`` entries of a hidden
state, everything float64.  ``q(...)`` below is the magnitude sum: ``S_nj = sum_k |h_nk
w_jk| + |b_j|``.  A sum of ``H`` products in any order is within gamma_H S of the exact one,
gamma_H = H u / (1 - H u) (Higham, *Accuracy and Stability of Numerical Algorithms*, section
3.1), and exact where every partial sum is a multiple of one quantum that still fits the
significand: then no order of additions rounds at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch

from ...bounds import OWN, U64, Arithmetic, Format, cascade, nonzero, own_height, rounded
from ...softmax import MERGE_BLOCK, Rows
from ...truth import Exact

#: exp(LARGEST) is still finite with room for products.
LARGEST: Final = 300.0


@dataclass(frozen=True)
class Projection:
    """The logits ``z`` of a call and how far off a correct implementation's may be.

    ``value`` and ``error`` are ``(N, C)``, ``size`` is S; ``lost`` ``(N,)`` marks rows with a
    logit that may overflow the dtype in which the declared precision keeps it.
    """

    value: torch.Tensor
    error: torch.Tensor
    size: torch.Tensor
    lost: torch.Tensor


def project(
    hidden: torch.Tensor, head: torch.Tensor, bias: torch.Tensor | None, how: Arithmetic
) -> Projection:
    """The logits of ``hidden`` ``(N, H)`` under ``head`` ``(C, H)`` and ``bias`` ``(C,)``.

    delta = gamma_{H+1} S (+ underflows), 0 where the sum cannot round; where logits may be
    kept in 16 bits the worst of: rounded at the end, before the bias, or both.
    """
    product = hidden @ head.T
    value = product if bias is None else product + bias
    size = hidden.abs() @ head.abs().T
    size = size if bias is None else size + bias.abs()
    ratio = size / _quantum(hidden, head, bias, how.compute.tiny)
    terms = hidden.shape[1] + 1
    unit = terms * how.compute.u
    bound = unit / (1.0 - unit) * size + 2 * terms * how.compute.tiny
    error = bound.masked_fill(ratio <= 1.0 / how.compute.u, 0.0)
    error = error + (OWN * U64 * own_height(terms) * size).masked_fill(ratio <= 2.0**53, 0.0)
    if how.rows.u:
        error = _kept_in_16_bits(value, product, bias, error, how.rows)
    error = error.masked_fill(~value.isfinite(), 0.0)
    limit = min(how.rows.largest, how.compute.largest)
    high = value.isfinite() & ~(size + error <= limit)
    return Projection(value, error, size, high.any(1))


def _quantum(
    hidden: torch.Tensor, head: torch.Tensor, bias: torch.Tensor | None, tiny: float
) -> torch.Tensor:
    """A power of two ``(N, C)`` that divides every term of a logit, or 0 if below ``tiny``."""
    quantum = _lowest_bit(hidden).unsqueeze(1) * _lowest_bit(head)
    if bias is not None:
        quantum = torch.minimum(quantum, _lowest_bit(bias.unsqueeze(1)))
    return quantum.masked_fill(quantum < tiny, 0.0)


def _lowest_bit(rows: torch.Tensor) -> torch.Tensor:
    """The smallest power of two ``(R,)`` that divides each row's finite entries."""
    mantissa, exponent = torch.frexp(rows.where(rows.isfinite(), 0.0))
    whole = (mantissa * 2.0**53).long()
    bit = (whole & -whole).double() * 2.0**-53
    lowest = torch.ldexp(bit, exponent).masked_fill(whole == 0, math.inf)
    if lowest.shape[1] == 0:
        return lowest.new_ones(lowest.shape[0])
    # a row of zeros has only exact products
    least = lowest.amin(1)
    return least.masked_fill(least.isinf(), 1.0)


def _kept_in_16_bits(
    value: torch.Tensor,
    product: torch.Tensor,
    bias: torch.Tensor | None,
    error: torch.Tensor,
    form: Format,
) -> torch.Tensor:
    """The error of logits that may be rounded: once, before the bias is added, or twice."""
    general = error + form.u * (value.abs() + error) + form.tiny
    if bias is not None:
        general = general + form.u * (product.abs() + error) * (1.0 + form.u) + form.tiny
    once = _nearest(value, form)
    worst = (once - value).abs()
    if bias is not None:
        early = _nearest(product, form) + bias
        worst = torch.maximum(worst, (early - value).abs())
        worst = torch.maximum(worst, (_nearest(early, form) - value).abs())
    # where the sum itself cannot round, the roundings are known
    return torch.where(error == 0.0, worst, general)


def _nearest(value: torch.Tensor, form: Format) -> torch.Tensor:
    """``value``, which float32 holds exactly, rounded to the 16-bit format."""
    dtype = torch.bfloat16 if form.u == 2.0**-8 else torch.float16
    return value.float().to(dtype).double()


def class_shift(rows: Rows, error: torch.Tensor, how: Arithmetic) -> torch.Tensor:
    """What errors ``delta_j`` of the logits do to the loss of class j; ``(N, C)``.

    |l_j(z + d) - l_j(z)| <= log(1 + sum_{i != j} p_i (exp(delta_i + delta_j) - 1)), from
    l_j = log sum_i exp(z_i - z_j); the bound of a decrease is smaller (Cauchy).  The rest is
    of second order: the roundings that a softmax of slightly other logits commits.
    """
    delta = error.clamp(max=LARGEST)
    if not bool((delta > 0).any()):
        return torch.zeros_like(delta)
    growth = delta.expm1()
    each = rows.p * growth
    total = each.sum(1, keepdim=True)
    others = (total - each).clamp_min(0.0) + 8 * U64 * total
    shift = ((growth + 1.0) * others + growth * -torch.expm1(-rows.loss)).log1p()
    merges = 2 + math.ceil(rows.classes / MERGE_BLOCK)
    second = how.compute.u * (32 + 2 * merges) * delta.amax(1, keepdim=True)
    return shift * (1.0 + 8 * (how.rows.u + how.sums.u)) + second


@dataclass(frozen=True)
class Pulled:
    """The gradient in the logits before it passes the head, rows that do not count zero.

    ``value`` and ``error`` ``(N, C)``; ``pull`` is |s| (W p + a), the size of its two parts,
    which an implementation may sum apart; ``kappa`` its condition; ``live`` 1 in the rows
    that something flows back to, else 0; ``upstream`` the largest gradient that arrives.
    """

    value: torch.Tensor
    error: torch.Tensor
    pull: torch.Tensor
    kappa: torch.Tensor
    live: torch.Tensor
    upstream: float
    how: Arithmetic

    @property
    def turned(self) -> Pulled:
        """All transposed: what is summed over the rows."""
        return replace(
            self,
            value=self.value.T,
            error=self.error.T,
            pull=self.pull.T,
            kappa=self.kappa.T,
            live=self.live.T,
        )

    def times(self, factor: torch.Tensor, output: Format) -> Exact:
        """``value @ factor``, ``factor`` ``(K, M)``.

        A sum of K products: with T = sum (pull + E) |factor| the error is::

            sum (E + r) |factor| + (gamma_{K+4} + u64) T + underflows

        r = 2 u pull; where g may be kept in 16 bits r = (u + u_rows) (pull + E), and the sum
        may be rounded before the upstream gradient multiplies it (u_rows T); where sums are
        kept in 16 bits, + cascade(K) u_sums T.  Then the output's rounding.
        """
        how, terms, size = self.how, factor.shape[0], factor.abs()
        tiny = (how.compute.tiny + 2 * how.rows.tiny) * (1.0 + self.upstream)
        parts = self.pull + self.error
        own = self.error + (2 * how.compute.u + how.rows.u) * parts + tiny * self.live
        total = parts @ size
        unit = (terms + 4) * how.compute.u
        unit = unit / (1.0 - unit) + OWN * U64 * own_height(terms + 2)
        unit += how.rows.u + how.sums.u * cascade(terms)
        touched = (self.live @ torch.ones_like(factor[:, :1])) > 0
        bound = (own @ size + unit * total + tiny).nan_to_num(nan=math.inf)
        limit = min(how.rows.largest, how.compute.largest)
        exact = self.value @ factor
        bound = rounded(exact, bound.masked_fill(total > limit, math.inf), output)
        bound = bound.masked_fill(~touched, 0.0)
        exact = exact.masked_fill(exact.isnan() & (bound > 0), 0.0)
        return Exact(exact, bound, nonzero(self.kappa @ size))
