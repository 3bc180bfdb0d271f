"""The loops of the kernels, over the bits of a row of logits.

They are compiled when a kernel is, and in vectors: sums may take any order, maxima are those of
integers, and nothing is written through one array that is read through another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .bits import as_wide, exp, jit, narrow, same_bits, signed, widen, zero

#: Classes in a block: a block in float32 and its exponentials fit into the first cache.
BLOCK = 1024
#: A sum of exponentials beyond these was shifted by too little or too much.  Most rows and blocks
#: need not be asked for their maximum, then: what was subtracted is at most 11 away from it, at
#: which exp is right to 4 roundoffs.
SMALL, LARGE = 1.0, 2.0**15


@jit()
def survey(target: Any, ignore_index: int, classes: int, weight: Any) -> Any:
    """The weight of all counted rows, and the first target that is no class (-1: none is)."""
    kept = wrong = 0
    for n in range(target.size):  # in vectors
        is_kept = target[n] != ignore_index
        kept += is_kept
        wrong += is_kept & ((target[n] < 0) | (target[n] >= classes))
    counted = float(kept)
    if wrong or weight.size:
        counted = 0.0
        for n in range(target.size):
            t = target[n]
            if t == ignore_index:
                continue
            if t < 0 or t >= classes:
                return counted, n
            counted += weight[t] if weight.size else 1.0
    return counted, -1


@jit()
def highest_of(row: Any) -> Any:
    """The maximum.

    As integers, floats from 0 on keep their order and those below reverse it, which vectors
    of integers can do where a NaN hinders those of floats.  A positive NaN is the largest.
    """
    high = signed(row[0])
    low = signed(row[0])
    for j in range(row.size):
        key = signed(row[j])
        high = max(high, key)
        low = min(low, key)
    return widen(same_bits(high if high >= 0 else low, row[0]))


@jit(reorder=True)
def exp_sum(row: Any, shift: Any) -> Any:
    """The sum of exp(x_j - shift).

    It does nothing besides: to find the maximum as well takes more registers than there are.
    """
    total = zero(row[0])
    for j in range(row.size):
        total += exp(widen(row[j]) - shift)
    return total


@jit(reorder=True)
def exp_into(row: Any, shift: Any, into: Any) -> Any:
    """exp(x_j - shift) as bits, and their sum."""
    total = zero(row[0])
    for j in range(row.size):
        value = exp(widen(row[j]) - shift)
        into[j] = narrow(value, into[j])
        total += value
    return total


@jit(reorder=True)
def exp_over(row: Any, shift: Any) -> Any:
    """The same over the row itself.

    A loop of its own: where two arrays may overlap, the compiler makes no vectors.
    """
    total = zero(row[0])
    for j in range(row.size):
        value = exp(widen(row[j]) - shift)
        row[j] = narrow(value, row[j])
        total += value
    return total


@jit(reorder=True)
def cross_and_mass(row: Any, shift: Any, share: Any) -> Any:
    """The sums of share_j (x_j - shift), nothing times infinity being nothing, and share_j."""
    cross = zero(row[0])
    mass = zero(row[0])
    nothing = zero(row[0])
    for j in range(row.size):
        part = share[j]
        cross += nothing if part == nothing else part * (widen(row[j]) - shift)
        mass += part
    return cross, mass


@jit()
def scale_over(values: Any, factor: Any) -> None:
    """Values times a factor, as bits like theirs."""
    for j in range(values.size):
        values[j] = narrow(widen(values[j]) * factor, values[j])


@jit()
def scale_into(values: Any, factor: Any, into: Any) -> None:
    """The same as bits like those of ``into``, elsewhere."""
    for j in range(values.size):
        into[j] = narrow(widen(values[j]) * factor, into[j])


@jit()
def scale_less_over(values: Any, factor: Any, share: Any, pull: Any) -> None:
    """Values times a factor, less ``pull`` times a share."""
    for j in range(values.size):
        values[j] = narrow(widen(values[j]) * factor - pull * share[j], values[j])


@jit()
def scale_less_into(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
    """The same elsewhere."""
    for j in range(values.size):
        into[j] = narrow(widen(values[j]) * factor - pull * share[j], into[j])


@jit()
def gradient_into(row: Any, shift: Any, factor: Any, into: Any) -> None:
    """exp(x_j - shift) times ``factor``."""
    for j in range(row.size):
        into[j] = narrow(exp(widen(row[j]) - shift) * factor, row[j])


@jit()
def gradient_over(row: Any, shift: Any, factor: Any) -> None:
    """The same over the row itself."""
    for j in range(row.size):
        row[j] = narrow(exp(widen(row[j]) - shift) * factor, row[j])


@jit()
def gradient_less_into(row: Any, shift: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
    """exp(x_j - shift) times ``factor``, less ``pull`` times its share."""
    for j in range(row.size):
        value = exp(widen(row[j]) - shift) * factor - pull * share[j]
        into[j] = narrow(value, row[j])


@jit()
def gradient_less_over(row: Any, shift: Any, factor: Any, share: Any, pull: Any) -> None:
    """The same over the row itself."""
    for j in range(row.size):
        value = exp(widen(row[j]) - shift) * factor - pull * share[j]
        row[j] = narrow(value, row[j])


@jit()
def clear(row: Any) -> None:
    """Zeros."""
    for j in range(row.size):
        row[j] = 0


@jit()
def finite(shift: Any) -> Any:
    """A maximum to subtract: 0 instead of -inf, lest -inf - -inf make NaN."""
    return as_wide(0.0, shift) if shift == -np.inf else shift


@jit()
def times(part: float, distance: float) -> float:
    """A product in which nothing times infinity is nothing."""
    return 0.0 if part == 0.0 and math.isinf(distance) else part * distance


@jit()
def settled(account: Any) -> float:
    """The loss of all rows so far."""
    loss, product, mass = account
    whole: float = loss + mass * math.log(product)
    return whole


@jit()
def with_row(account: Any, mass: float, total: float, cross: float) -> Any:
    """The account after another row, whose loss is mass log(total) - cross.

    An account is the loss but for the logarithm of a product of totals, that product, and their
    mass: one logarithm serves many rows of one mass.
    """
    loss, product, mass_before = account
    if mass != mass_before or not product < 1e250:
        loss, product = settled(account), 1.0
    return loss - cross, product * total, mass
