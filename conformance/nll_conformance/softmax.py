"""Exact softmax of rows of logits, and the error of log-softmax in any correct algorithm.

Shared by the families that start from logits.  ``R`` rows, ``C`` classes, everything
float64.  With m the row's maximum, peeled from the sum so that small losses keep relative
accuracy: ``gap_j = m - x_j``, ``L = log1p(sum_{j != argmax} exp(-gap_j))``,
``p_j = exp(-gap_j - L)``, the loss of class j ``l_j = L + gap_j``, and the mean depth
``D = sum_j p_j gap_j``.

The bounds hold for sequential, blocked, online and tree sums, exp or exp2, shift-first
(``log S - (x - m)``) and lse-first (``m + log S - x``) formulas; see Blanchard, Higham and
Higham, IMA J. Numer. Anal. 41 (2021), "Accurately computing the log-sum-exp and softmax
functions", doi 10.1093/imanum/draa038, and Milakov and Gimelshein, arXiv 1805.02867.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch

from .bounds import OWN, U64, Arithmetic, own_height

#: exp is within K0 + K1 |argument| roundoffs (any libm, and the fast-math of GPUs).
K0: Final = 4.0
K1: Final = 4.0
#: log is within KL0 + KL1 |result| roundoffs.
KL0: Final = 6.5
KL1: Final = 6.0
#: Roundings of one class on its way into the sum: an addition, and a rescaling by a new
#: maximum (K0 + 1), at worst at each class.
PER_CLASS: Final = K0 + 2.0
#: A merge of log-sum-exps may happen for each block of this many classes.
MERGE_BLOCK: Final = 128
#: Maxima beyond CORE / u have no correct digit left in ``m + log S - x``: not judged.
CORE: Final = 2.0**-4


@dataclass(frozen=True)
class Rows:
    """Softmax statistics of ``R`` rows; ``(R, C)``, or ``(R, 1)`` where one per row.

    ``size`` is ``|x|``.  ``hole`` marks logits of -inf (``None``: there are none): there
    p is 0 and ``gap`` and ``size`` hold 0, so that nothing becomes NaN.  Rows outside
    ``defined`` (NaN, +inf, all -inf, or not asked for) hold the statistics of zeros.
    """

    size: torch.Tensor
    gap: torch.Tensor
    loss: torch.Tensor
    p: torch.Tensor
    top: torch.Tensor
    log_sum: torch.Tensor
    depth: torch.Tensor
    defined: torch.Tensor
    hole: torch.Tensor | None

    @property
    def classes(self) -> int:
        """C."""
        return self.p.shape[1]


def statistics(logits: torch.Tensor, counted: torch.Tensor) -> Rows:
    """The softmax statistics of ``logits`` ``(R, C)`` float64 in the rows ``counted``."""
    x = logits
    top, where = x.max(1, keepdim=True)
    defined = top.isfinite() & counted.unsqueeze(1)
    if not bool(defined.all()):
        x = x.where(defined, 0.0)
        top, where = x.max(1, keepdim=True)
    # float64 logits near both ends of the range: the difference itself overflows
    gap = (top - x).clamp_(max=torch.finfo(torch.float64).max)
    terms = (-gap).exp_().scatter_(1, where, 0.0)
    hole: torch.Tensor | None = x.isneginf()
    if hole is not None and not bool(hole.any()):
        hole = None
    if hole is not None:
        terms, gap, x = (t.masked_fill(hole, 0.0) for t in (terms, gap, x))
    rest = terms.sum(1, keepdim=True)
    log_sum = rest.log1p()
    p = terms.scatter_(1, where, 1.0).div_(1.0 + rest)
    depth = (p * gap).sum(1, keepdim=True)
    return Rows(x.abs(), gap, log_sum + gap, p, top, log_sum, depth, defined.squeeze(1), hole)


def in_core(rows: Rows, how: Arithmetic) -> torch.Tensor:
    """Rows ``(R,)`` whose maximum leaves digits for every correct formula."""
    return rows.top.squeeze(1).abs() * how.compute.u <= CORE


def log_sum_error(rows: Rows, how: Arithmetic) -> torch.Tensor:
    """EL ``(R, 1)``: error of ``log S``.

    relS = u (K0 + K1 D + 6 (C-1)); EL = -log1p(-relS) + u (6.5 + 6 L), and 1.01 u_sums
    where S is kept in a 16-bit dtype.
    """
    u = how.compute.u
    relative = (u * (K0 + PER_CLASS * (rows.classes - 1)) + u * K1 * rows.depth).clamp_(max=1.0)
    fixed = u * KL0 + 1.01 * how.sums.u
    return fixed + u * KL1 * rows.log_sum - (-relative).log1p()


def class_error(rows: Rows, how: Arithmetic) -> torch.Tensor:
    """E_j ``(R, C)``: error of the loss of class j, before any weight or rounding.

    E_j = EL + u ((|m| + L + D) mu + 2 |m| + 2 |x_j| + 2 gap_j + 3 l_j), mu = 2 + ceil(C/128)
    merges of partial log-sum-exps, plus the oracle's own error.
    """
    u, merges = how.compute.u, 2 + math.ceil(rows.classes / MERGE_BLOCK)
    top = rows.top.abs()
    shift = (top + rows.log_sum + rows.depth) * merges + 2 * top + 3 * rows.log_sum
    base = log_sum_error(rows, how) + u * shift + own_error(rows)
    return base + (5 * u + 2 * OWN * U64) * rows.gap + 2 * u * rows.size


def own_error(rows: Rows) -> torch.Tensor:
    """The oracle's error ``(R, 1)`` in ``l_j``, less ``2 gap_j``; float64, charged OWN times.

    u64 ((2 + h) (S-1)/S + 2 D + 2 L), h the height of its sum.
    """
    height = 2 + own_height(rows.classes)
    share = -torch.expm1(-rows.log_sum)
    return OWN * U64 * (height * share + 2 * (rows.depth + rows.log_sum))


def probability_error(rows: Rows, how: Arithmetic, error: torch.Tensor) -> torch.Tensor:
    """Relative error ``(R, C)`` of p_j, from ``error`` = E_j.

    relP_j = E_j + u (K0 + 2 + KL0 + 3 L + 2 gap_j), and u_rows (1 + l_j) where p is the
    exponential of a rounded log-probability.  Returned as ``expm1(relP_j)``.
    """
    u, low = how.compute.u, how.rows.u
    base = u * (K0 + 2 + KL0) + low + 3 * OWN * U64 + (3 * u + low) * rows.log_sum
    # below 2**-1000 the probability is 0 whatever its relative error: keep 0 * inf away
    return (error + base + (2 * u + low) * rows.gap).clamp_(max=700.0).expm1_()


def condition(rows: Rows) -> torch.Tensor:
    """kappa_j ``(R, C)`` = 1 + L + D + gap_j: the unit in which accuracy is ranked."""
    return (1.0 + rows.log_sum + rows.depth) + rows.gap
