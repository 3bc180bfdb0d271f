"""Medians and their intervals, from order statistics: no distribution is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple

LEVEL = 0.95


class Median(NamedTuple):
    """A median with an interval that covers the true one with at least the level's share.

    The ends are None where so few samples cannot have such an interval (fewer than 6 at
    95 %).
    """

    value: float
    low: float | None
    high: float | None


def median(samples: Sequence[float], level: float = LEVEL) -> Median:
    """The median of independent ``samples`` and its interval.

    The ends are the ``k``-th smallest and largest, ``k`` from the binomial distribution of
    the number of samples below the true median (David and Nagaraja, *Order Statistics*,
    section 7.1).  Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("the median of no samples")
    ordered = sorted(samples)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    depth = _depth(n, level)
    if depth == 0:
        return Median(middle, None, None)
    return Median(middle, ordered[depth - 1], ordered[n - depth])


@cache
def _depth(n: int, level: float) -> int:
    """The largest k with P(fewer than k of n samples below the median) <= (1 - level) / 2."""
    # In whole numbers: from 1030 samples on, the ways to choose k of n are beyond a float.
    limit = int(Fraction((1.0 - level) / 2) * 2**n)
    tail, ways, k = 0, 1, 0
    while True:
        tail += ways
        if tail > limit:
            return k
        ways = ways * (n - k) // (k + 1)
        k += 1
