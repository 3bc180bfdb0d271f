"""The loops of the kernels, over the bits of a row of logits or of some short ones.

They are compiled when a kernel is, and in vectors: sums may take any order, maxima are those of
integers, and nothing is written through one array that is read through another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .bits import as_wide, exp, jit, narrow, overloads, same_bits, signed, widen, zero

#: Classes in a block: a block in float32 and its exponentials fit into the first cache.
BLOCK = 1024
#: The same where a block is read once only; each start of a block waits for memory.
LONG_BLOCK = 8192
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
def _exp_into(row: Any, shift: Any, into: Any) -> Any:
    """exp(x_j - shift) as bits, and their sum."""
    total = zero(row[0])
    for j in range(row.size):
        value = exp(widen(row[j]) - shift)
        into[j] = narrow(value, into[j])
        total += value
    return total


@jit(reorder=True)
def _exp_over(row: Any, shift: Any) -> Any:
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
def _scale_over(values: Any, factor: Any) -> None:
    for j in range(values.size):
        values[j] = narrow(widen(values[j]) * factor, values[j])


@jit()
def _scale_into(values: Any, factor: Any, into: Any) -> None:
    for j in range(values.size):
        into[j] = narrow(widen(values[j]) * factor, into[j])


@jit()
def _scale_less_over(values: Any, factor: Any, share: Any, pull: Any) -> None:
    for j in range(values.size):
        values[j] = narrow(widen(values[j]) * factor - pull * share[j], values[j])


@jit()
def _scale_less_into(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
    for j in range(values.size):
        into[j] = narrow(widen(values[j]) * factor - pull * share[j], into[j])


def room(gradient: Any, scratch: Any) -> Any:
    """Where exponentials of rows are kept: their gradient's place, if that holds all digits."""
    raise TypeError("for compiled functions only")


@overloads(room)
def _room_of(gradient: Any, scratch: Any) -> Any:
    def same(gradient: Any, scratch: Any) -> Any:
        return gradient

    def rows(gradient: Any, scratch: Any) -> Any:
        return scratch[: gradient.shape[0]]

    def row(gradient: Any, scratch: Any) -> Any:
        return scratch[0]

    if gradient.dtype == scratch.dtype:
        return same
    return rows if gradient.ndim > 1 else row


def _scale(values: Any, factor: Any, into: Any) -> None:
    """Values times a factor into a gradient: where they are, or of another dtype."""
    raise TypeError("for compiled functions only")


@overloads(_scale)
def _scale_of(values: Any, factor: Any, into: Any) -> Any:
    def over(values: Any, factor: Any, into: Any) -> None:
        _scale_over(values, factor)

    def elsewhere(values: Any, factor: Any, into: Any) -> None:
        _scale_into(values, factor, into)

    return over if values.dtype == into.dtype else elsewhere


def _scale_less(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
    """The same, less ``pull`` times a share."""
    raise TypeError("for compiled functions only")


@overloads(_scale_less)
def _scale_less_of(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> Any:
    def over(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
        _scale_less_over(values, factor, share, pull)

    def elsewhere(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
        _scale_less_into(values, factor, share, pull, into)

    return over if values.dtype == into.dtype else elsewhere


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
def leave_exponentials(row: Any, into: Any, share: Any, blocks: Any, size: int, over: bool) -> Any:
    """exp(x_j - top so far) of a row, block by block of ``size``; its maximum, or nearly.

    ``blocks`` (4, n) gets of each block the top so far, the sum, cross and mass.
    """
    highest = highest_of(row[:BLOCK])
    for b in range(blocks.shape[1]):
        block, to = row[b * size : (b + 1) * size], into[b * size : (b + 1) * size]
        if over or highest == -np.inf:  # over the logits there is no second try
            highest = max(highest, highest_of(block))
        if not over:
            blocks[1, b] = _exp_into(block, finite(highest), to)
            if not blocks[1, b] < LARGE:
                highest = max(highest, highest_of(block))
                blocks[1, b] = _exp_into(block, finite(highest), to)
        blocks[0, b] = highest
        if share.size:
            part = share[b * size : (b + 1) * size]
            blocks[2, b], blocks[3, b] = cross_and_mass(block, finite(highest), part)
        if over:
            blocks[1, b] = _exp_over(block, finite(highest))
    return highest


@jit()
def gathered(blocks: Any, highest: float, shared: bool) -> Any:
    """Total, cross and mass of a row from its blocks, whose tops become their factors."""
    total, cross, mass = 0.0, 0.0, 0.0
    for b in range(blocks.shape[1]):
        below = blocks[0, b] - highest
        blocks[0, b] = 1.0 if below == 0.0 else math.exp(below)
        total += blocks[1, b] * blocks[0, b]
        if shared:
            cross += blocks[2, b] + times(blocks[3, b], below)
            mass += blocks[3, b]
    return total if highest != -np.inf else np.nan, cross, mass


@jit()
def finish(
    values: Any, into: Any, share: Any, blocks: Any, size: int, factor: float, pull: float
) -> None:
    """Exponentials of a row to its gradient, but at the target."""
    nothing = zero(values[0])
    for b in range(blocks.shape[1]):
        part = values[b * size : (b + 1) * size]
        to = into[b * size : (b + 1) * size]
        scale = as_wide(blocks[0, b] * factor, nothing)
        if share.size:
            less = share[b * size : (b + 1) * size]
            _scale_less(part, scale, less, as_wide(pull, nothing), to)
        else:
            _scale(part, scale, to)


@jit()
def settle(account: Any) -> float:
    """The loss of all rows so far."""
    loss: float = account[0] + account[2] * math.log(account[1])
    return loss


@jit()
def add_row(account: Any, mass: float, total: float, cross: float) -> None:
    """Add mass log(total) - cross; one logarithm serves many rows of one mass.

    ``account`` holds the loss but for the logarithm of a product of totals, that, their mass.
    """
    if mass != account[2] or not account[1] < 1e250:
        account[0] = settle(account)
        account[1], account[2] = 1.0, mass
    account[0] -= cross
    account[1] *= total


@jit()
def long_row(
    row: Any,
    into: Any,
    kept: Any,
    over: bool,
    share: Any,
    t: int,
    part: float,
    pull: float,
    blocks: Any,
    size: int,
    account: Any,
) -> None:
    """The gradient of a row of any length; ``t`` is -1 and ``part`` 0 if it has no target.

    ``kept`` is where the exponentials go, ``over`` whether that is the row itself.  ``size`` is
    that of the ``blocks``.
    """
    at_target = np.float64(widen(row[max(t, 0)]))
    top = leave_exponentials(row, kept, share, blocks, size, over)
    total, cross, mass = gathered(blocks, top, share.size > 0)
    if t >= 0:
        cross += times(part, at_target - top)
        mass += part
    add_row(account, mass, total, cross)
    p_t = np.float64(widen(kept[max(t, 0)])) * blocks[0, max(t, 0) // size] / total
    finish(kept, into, share, blocks, size, mass * pull / total, pull)
    if t >= 0:
        rest = np.float64(share[t]) if share.size else 0.0
        exact = pull * (mass * p_t - part - rest)
        into[t] = narrow(as_wide(exact, zero(into[t])), into[t])


@jit()
def short_rows(
    rows: Any,
    into: Any,
    kept: Any,
    over: bool,
    target: Any,
    parts: Any,
    pull: float,
    top: float,
    found: Any,
    account: Any,
) -> float:
    """The gradient of some rows of one block each, ``parts`` being the weights of their targets.

    Each row is first shifted by the top of the one before, ``top`` at first and returned at last.
    Each step is done for all of them before the next: it takes shorter than what it waits for,
    and the processor then works on several rows at a time.
    """
    nothing = zero(rows[0, 0])
    tops, totals, at = found
    for n in range(target.size):
        at[n] = widen(rows[n, target[n]])
    if over:
        for n in range(target.size):
            tops[n] = finite(highest_of(rows[n]))
        for n in range(target.size):
            totals[n] = _exp_over(rows[n], as_wide(tops[n], nothing))
    else:
        for n in range(target.size):
            totals[n] = _exp_into(rows[n], as_wide(top, nothing), kept[n])
            if not SMALL <= totals[n] < LARGE:
                top = np.float64(finite(highest_of(rows[n])))
                totals[n] = _exp_into(rows[n], as_wide(top, nothing), kept[n])
            tops[n] = top
    for n in range(target.size):
        part = parts[n]
        total = totals[n] if totals[n] > 0.0 else np.nan  # there was nothing but -inf
        add_row(account, part, total, times(part, at[n] - tops[n]))
        at[n] = np.float64(widen(kept[n, target[n]])) / total
        totals[n] = part * pull / total
    for n in range(target.size):
        _scale(kept[n], as_wide(totals[n], nothing), into[n])
        into[n, target[n]] = narrow(as_wide(parts[n] * pull * (at[n] - 1.0), nothing), into[n, 0])
    return top


@jit()
def long_loss(row: Any, share: Any, t: int, part: float, found: Any, account: Any) -> None:
    """Top, total, mass and cross of a row of any length into ``found`` (4,).

    The top is one of the row's large logits, the total is relative to it.
    """
    highest = highest_of(row[:BLOCK])
    total, mass, cross = 0.0, 0.0, 0.0
    for low in range(0, row.size, LONG_BLOCK):
        block = row[low : low + LONG_BLOCK]
        if highest == -np.inf:
            highest = highest_of(block)
        summed = exp_sum(block, finite(highest))
        if not summed < LARGE:
            block_top = highest_of(block)
            if block_top > highest:
                total *= math.exp(np.float64(highest) - np.float64(block_top))
                highest = block_top
                summed = exp_sum(block, highest)
        total += summed
    if highest == -np.inf:
        total = np.nan
    for low in range(0, share.size, BLOCK):
        block_share = share[low : low + BLOCK]
        c, w = cross_and_mass(row[low : low + BLOCK], highest, block_share)
        cross += c
        mass += w
    if t >= 0:
        cross += times(part, np.float64(widen(row[t])) - np.float64(highest))
        mass += part
    found[0], found[1], found[2], found[3] = highest, total, mass, cross
    add_row(account, mass, total, cross)


@jit()
def short_losses(rows: Any, target: Any, top: float, found: Any, account: Any) -> float:
    """The same for some rows of one block each, each first shifted by the top of the one before.

    That is ``top`` at first, and returned at last.  ``found`` (4, n) holds the weights of their
    targets as masses.
    """
    nothing = zero(rows[0, 0])
    tops, totals, parts, crosses = found
    for n in range(target.size):
        total = exp_sum(rows[n], as_wide(top, nothing))
        if not SMALL <= total < LARGE:
            top = np.float64(finite(highest_of(rows[n])))
            total = exp_sum(rows[n], as_wide(top, nothing))
        tops[n], totals[n] = top, total
    for n in range(target.size):
        if not totals[n] > 0.0:
            totals[n] = np.nan  # there was nothing but -inf
        crosses[n] = times(parts[n], np.float64(widen(rows[n, target[n]])) - tops[n])
        add_row(account, parts[n], totals[n], crosses[n])
    return top


@jit()
def labelled(
    target: Any, ignore_index: int, hard: float, weight: Any, labels: Any, parts: Any
) -> int:
    """How many rows count before the first ignored one; ``labels`` and ``parts`` get theirs.

    At most as many as there is room for.  A part is ``hard`` times the weight of the target.
    """
    count = 0
    while count < min(labels.size, target.size) and target[count] != ignore_index:
        labels[count] = target[count]
        parts[count] = hard * (weight[target[count]] if weight.size else 1.0)
        count += 1
    return count
