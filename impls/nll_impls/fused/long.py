"""Rows of any length, one at a time."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import carray

from .bits import as_wide, fetch_add, jit, narrow, overloads, pointer, widen, zero
from .call import CALL, bits_and_wide, kernel
from .loops import (
    BLOCK,
    LARGE,
    clear,
    cross_and_mass,
    exp_into,
    exp_over,
    exp_sum,
    finite,
    highest_of,
    scale_into,
    scale_less_into,
    scale_less_over,
    scale_over,
    settled,
    times,
    with_row,
)

#: Classes in a block that is read once only; each start of a block waits for memory.
LONG_BLOCK = 8192


def room(gradient: Any, scratch: Any) -> Any:
    """Where exponentials of a row are kept: their gradient's place, if that holds all digits."""
    raise TypeError("for compiled functions only")


@overloads(room)
def _room_of(gradient: Any, scratch: Any) -> Any:
    def same(gradient: Any, scratch: Any) -> Any:
        return gradient

    def own(gradient: Any, scratch: Any) -> Any:
        return scratch

    return same if gradient.dtype == scratch.dtype else own


def _scale(values: Any, factor: Any, into: Any) -> None:
    """Values times a factor into a gradient: where they are, or of another dtype."""
    raise TypeError("for compiled functions only")


@overloads(_scale)
def _scale_of(values: Any, factor: Any, into: Any) -> Any:
    def over(values: Any, factor: Any, into: Any) -> None:
        scale_over(values, factor)

    def elsewhere(values: Any, factor: Any, into: Any) -> None:
        scale_into(values, factor, into)

    return over if values.dtype == into.dtype else elsewhere


def _scale_less(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
    """The same, less ``pull`` times a share."""
    raise TypeError("for compiled functions only")


@overloads(_scale_less)
def _scale_less_of(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> Any:
    def over(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
        scale_less_over(values, factor, share, pull)

    def elsewhere(values: Any, factor: Any, share: Any, pull: Any, into: Any) -> None:
        scale_less_into(values, factor, share, pull, into)

    return over if values.dtype == into.dtype else elsewhere


@jit()
def _share_of_block(block: Any, top: Any, share: Any, b: int, size: int, blocks: Any) -> None:
    if share.size:
        part = share[b * size : (b + 1) * size]
        blocks[2, b], blocks[3, b] = cross_and_mass(block, finite(top), part)


@jit()
def _leave_in(row: Any, into: Any, share: Any, blocks: Any, size: int) -> Any:
    """exp(x_j - top so far) of a row, block by block of ``size``; its maximum, or nearly.

    ``blocks`` (4, n) gets of each block the top so far, the sum, cross and mass.
    """
    top = highest_of(row[:BLOCK])
    for b in range(blocks.shape[1]):
        block, to = row[b * size : (b + 1) * size], into[b * size : (b + 1) * size]
        if top == -np.inf:
            top = highest_of(block)
        blocks[1, b] = exp_into(block, finite(top), to)
        if not blocks[1, b] < LARGE:
            top = max(top, highest_of(block))
            blocks[1, b] = exp_into(block, finite(top), to)
        blocks[0, b] = top
        _share_of_block(block, top, share, b, size, blocks)
    return top


@jit()
def _leave_over(row: Any, share: Any, blocks: Any, size: int) -> Any:
    """The same over the logits, where there is no second try: maxima are taken first."""
    top = highest_of(row[:BLOCK])
    for b in range(blocks.shape[1]):
        block = row[b * size : (b + 1) * size]
        top = max(top, highest_of(block))
        blocks[0, b] = top
        _share_of_block(block, top, share, b, size, blocks)
        blocks[1, b] = exp_over(block, finite(top))
    return top


@jit()
def _gathered(blocks: Any, highest: float, shared: bool) -> Any:
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
def _finish(
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
def _gradient_of(
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
) -> Any:
    """The gradient of a row, and the account; ``t`` is -1 and ``part`` 0 if it has no target.

    ``kept`` is where the exponentials go, ``over`` whether that is the row itself.  ``size`` is
    that of the ``blocks``.
    """
    at_target = np.float64(widen(row[max(t, 0)]))
    if over:
        top = _leave_over(row, share, blocks, size)
    else:
        top = _leave_in(row, kept, share, blocks, size)
    total, cross, mass = _gathered(blocks, top, share.size > 0)
    if t >= 0:
        cross += times(part, at_target - top)
        mass += part
    p_t = np.float64(widen(kept[max(t, 0)])) * blocks[0, max(t, 0) // size] / total
    _finish(kept, into, share, blocks, size, mass * pull / total, pull)
    if t >= 0:
        rest = np.float64(share[t]) if share.size else 0.0
        exact = pull * (mass * p_t - part - rest)
        into[t] = narrow(as_wide(exact, zero(into[t])), into[t])
    return with_row(account, mass, total, cross)


@jit()
def _loss_of(row: Any, share: Any, t: int, part: float, found: Any, account: Any) -> Any:
    """Top, total, mass and cross of a row into ``found`` (4,), and the account.

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
    return with_row(account, mass, total, cross)


@cache
def loss_kernel(dtype: str) -> Any:
    """Fills top, total, mass and cross of each row, and the loss of each portion of rows."""
    bits, wide = bits_and_wide(dtype)
    size, wide_size = bits().itemsize, wide().itemsize

    def loss(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes, hard = call.rows, call.classes, call.target != 0
        target = carray(pointer(call.target), rows, np.int64)
        weighted = classes if call.weight != 0 else 0
        weight = carray(pointer(call.weight), weighted, np.float64)
        found = carray(pointer(call.found), (4, call.found_stride), np.float64)
        sums = carray(pointer(call.sums), rows, np.float64)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account = (0.0, 1.0, 0.0)
            for n in range(start, min(rows, start + call.rows_at_once)):
                if hard and target[n] == call.ignore_index:
                    found[0, n], found[1, n], found[2, n], found[3, n] = 0.0, 1.0, 0.0, 0.0
                    continue
                t, part_t = -1, 0.0
                if hard:
                    t = target[n]
                    part_t = call.hard * (weight[t] if weight.size else 1.0)
                start_of = call.share + n * call.share_stride * wide_size
                share = carray(pointer(start_of), classes if call.share != 0 else 0, wide)
                row = carray(pointer(call.logits + n * classes * size), classes, bits)
                account = _loss_of(row, share, t, part_t, found[:, n], account)
            sums[start // call.rows_at_once] = settled(account)

    return kernel(loss)


@cache
def early_kernel(dtype: str) -> Any:
    """The loss of each portion of rows, and the gradient of each row times pull[0].

    The exponentials are kept until their sum is known: where the gradient will be, or for
    16-bit logits, lest they be rounded twice, in a row of float32 of the thread's own.
    """
    bits, wide = bits_and_wide(dtype)
    size, wide_size = bits().itemsize, wide().itemsize
    wide_bits = np.int64 if dtype == "float64" else np.int32

    def early(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes, hard = call.rows, call.classes, call.target != 0
        over = call.gradient == call.logits and size == wide_size
        target = carray(pointer(call.target), rows, np.int64)
        weighted = classes if call.weight != 0 else 0
        weight = carray(pointer(call.weight), weighted, np.float64)
        pull = carray(pointer(call.pull), 1, np.float64)[0]
        sums = carray(pointer(call.sums), rows, np.float64)
        block = BLOCK if over else LONG_BLOCK
        blocks = np.empty((4, (classes + block - 1) // block))
        scratch: Any = np.empty(classes * (size < wide_size), wide_bits)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account = (0.0, 1.0, 0.0)
            for n in range(start, min(rows, start + call.rows_at_once)):
                at = n * classes * size
                row = carray(pointer(call.logits + at), classes, bits)
                grad = carray(pointer(call.gradient + at), classes, bits)
                if hard and target[n] == call.ignore_index:
                    clear(grad)
                    continue
                t, part_t = -1, 0.0
                if hard:
                    t = target[n]
                    part_t = call.hard * (weight[t] if weight.size else 1.0)
                start_of = call.share + n * call.share_stride * wide_size
                share = carray(pointer(start_of), classes if call.share != 0 else 0, wide)
                kept = room(grad, scratch)
                account = _gradient_of(
                    row, grad, kept, over, share, t, part_t, pull, blocks, block, account
                )
            sums[start // call.rows_at_once] = settled(account)

    return kernel(early)
