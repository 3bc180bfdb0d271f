"""The kernels: rows of logits to what the loss needs of them, and to their gradient.

A row's target distribution is ``share`` (none, one row for all, or a row each) plus ``hard *
weight[target]`` at the target.  Of each row the kernels find

- ``top``, the maximum m, and ``total``, the sum S of exp(x_j - m),
- ``mass``, the sum W of the distribution, and ``cross``, the sum of share_j (x_j - m),

so that the loss is W log S - cross and its gradient W exp(x_j - m) / S - share_j.  Sums run in
vectors over a block of classes, and in float64 over the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import carray, types

from .bits import as_wide, exp, fetch_add, jit, narrow, pointer, same_bits, signed, widen, zero

#: Classes in a block: a block in float32 and its exponentials fit into the first cache.
BLOCK = 1024

#: What a kernel is told; addresses are 0 where there is no such array.
CALL = np.dtype(
    [
        ("next_row", np.int64),  # counted up by the threads
        ("rows", np.int64),
        ("classes", np.int64),
        ("rows_at_once", np.int64),  # that a thread takes
        ("logits", np.int64),  # (rows, classes) bits
        ("gradient", np.int64),  # (rows, classes) bits; may be where the logits are
        ("target", np.int64),  # (rows,) int64
        ("ignore_index", np.int64),
        ("weight", np.int64),  # (classes,) float64
        ("hard", np.float64),  # 1 - label_smoothing, or 0 if there is no target
        ("share", np.int64),  # classes last, in the dtype that is computed in
        ("share_stride", np.int64),  # 0: one row for all
        ("top", np.int64),  # (rows,) float64, and so are the following
        ("total", np.int64),
        ("mass", np.int64),
        ("cross", np.int64),
        ("pull", np.int64),  # what each row's gradient is multiplied by; stride 0 in `early`
    ]
)


@jit()
def survey(target: Any, ignore_index: int, classes: int, weight: Any) -> Any:
    """The weight of all counted rows, and the first target that is no class (-1: none is)."""
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
def _top(row: Any) -> Any:
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
def _exp_sum_top(row: Any, shift: Any) -> Any:
    """The sum of exp(x_j - shift), and the maximum."""
    total = zero(row[0])
    high = signed(row[0])
    low = signed(row[0])
    for j in range(row.size):
        total += exp(widen(row[j]) - shift)
        key = signed(row[j])
        high = max(high, key)
        low = min(low, key)
    return total, widen(same_bits(high if high >= 0 else low, row[0]))


@jit(reorder=True)
def _exp_into(row: Any, shift: Any, into: Any) -> Any:
    """exp(x_j - shift), and their sum."""
    total = zero(row[0])
    for j in range(row.size):
        value = exp(widen(row[j]) - shift)
        into[j] = value
        total += value
    return total


@jit(reorder=True)
def _cross_and_mass(row: Any, shift: Any, share: Any) -> Any:
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
def _scale(values: Any, factor: Any) -> None:
    for j in range(values.size):
        values[j] *= factor


@jit()
def _scale_less(values: Any, factor: Any, share: Any, pull: Any) -> None:
    for j in range(values.size):
        values[j] = values[j] * factor - pull * share[j]


@jit()
def _narrow_into(values: Any, into: Any) -> None:
    for j in range(values.size):
        into[j] = narrow(values[j], into[j])


@jit()
def _scaled_into(values: Any, factor: Any, into: Any) -> None:
    for j in range(values.size):
        into[j] = narrow(values[j] * factor, into[j])


@jit()
def _clear(row: Any) -> None:
    for j in range(row.size):
        row[j] = 0


@jit()
def _finite(shift: Any) -> Any:
    """A maximum to subtract: 0 instead of -inf, lest -inf - -inf make NaN."""
    return as_wide(0.0, shift) if shift == -np.inf else shift


@jit()
def _times(part: float, distance: float) -> float:
    """A product in which nothing times infinity is nothing."""
    return 0.0 if part == 0.0 and math.isinf(distance) else part * distance


def _kernel(body: Callable[[int], None]) -> Any:
    """Machine code for a kernel: called with the address of a CALL, by any thread."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
    signature = types.void(types.int64)
    try:
        return numba.cfunc(signature, cache=True, nopython=True, **options)(body)
    except RuntimeError:
        return numba.cfunc(signature, nopython=True, **options)(body)


def _bits_and_wide(dtype: str) -> Any:
    """How a dtype is seen, and what it is computed in."""
    bits: dict[str, Any] = {
        "float32": np.int32,
        "float64": np.int64,
        "bfloat16": np.int16,
        "float16": np.uint16,
    }
    return bits[dtype], np.float64 if dtype == "float64" else np.float32


@cache
def loss_kernel(dtype: str) -> Any:
    """Fills top, total, mass and cross of each row."""
    bits, wide = _bits_and_wide(dtype)
    size, wide_size = bits().itemsize, wide().itemsize

    def loss(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes = call.rows, call.classes
        target = carray(pointer(call.target), rows, np.int64)
        weight = carray(pointer(call.weight), classes, np.float64)
        top = carray(pointer(call.top), rows, np.float64)
        total = carray(pointer(call.total), rows, np.float64)
        mass = carray(pointer(call.mass), rows, np.float64)
        cross = carray(pointer(call.cross), rows, np.float64)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            for n in range(start, min(rows, start + call.rows_at_once)):
                top[n], total[n], mass[n], cross[n] = 0.0, 1.0, 0.0, 0.0
                if call.target != 0 and target[n] == call.ignore_index:
                    continue
                row = carray(pointer(call.logits + n * classes * size), classes, bits)
                highest = _top(row[:BLOCK])
                summed = 0.0
                for low in range(0, classes, BLOCK):
                    block = row[low : low + BLOCK]
                    part, block_top = _exp_sum_top(block, _finite(highest))
                    if block_top > highest + 1:  # a little more does no harm
                        summed *= math.exp(np.float64(highest) - np.float64(block_top))
                        highest = block_top
                        part, block_top = _exp_sum_top(block, _finite(highest))
                    summed += part
                top[n], total[n] = highest, summed if highest != -np.inf else np.nan
                if call.share != 0:
                    start_of = call.share + n * call.share_stride * wide_size
                    share = carray(pointer(start_of), classes, wide)
                    for low in range(0, classes, BLOCK):
                        c, w = _cross_and_mass(
                            row[low : low + BLOCK], highest, share[low : low + BLOCK]
                        )
                        cross[n] += c
                        mass[n] += w
                if call.target != 0:
                    t = target[n]
                    part_t = call.hard * (weight[t] if call.weight != 0 else 1.0)
                    cross[n] += _times(part_t, np.float64(widen(row[t])) - top[n])
                    mass[n] += part_t

    return _kernel(loss)


@jit()
def _leave_exponentials(
    row: Any, into: Any, scratch: Any, share: Any, blocks: Any, over: bool
) -> Any:
    """exp(x_j - top so far) of a row, block by block; its maximum.

    ``blocks`` (4, n) gets of each block the top so far, the sum, cross and mass.  Over the
    logits themselves they go by way of ``scratch``: the two must not overlap for vectors.
    """
    highest = _top(row[:BLOCK])
    for b in range(blocks.shape[1]):
        block = row[b * BLOCK : (b + 1) * BLOCK]
        if b > 0:
            highest = max(highest, _top(block))
        shift = _finite(highest)
        blocks[0, b] = shift
        if share.size:
            part = share[b * BLOCK : (b + 1) * BLOCK]
            blocks[2, b], blocks[3, b] = _cross_and_mass(block, shift, part)
        values = into[b * BLOCK : (b + 1) * BLOCK]
        if over:
            blocks[1, b] = _exp_into(block, shift, scratch)
            values[:] = scratch[: block.size]
        else:
            blocks[1, b] = _exp_into(block, shift, values)
    return highest


@jit()
def _gathered(blocks: Any, highest: float, shared: bool) -> Any:
    """Total, cross and mass of a row from its blocks, whose tops become their factors."""
    total, cross, mass = 0.0, 0.0, 0.0
    for b in range(blocks.shape[1]):
        below = blocks[0, b] - highest
        blocks[0, b] = 1.0 if below == 0.0 else math.exp(below)
        total += blocks[1, b] * blocks[0, b]
        if shared:
            cross += blocks[2, b] + _times(blocks[3, b], below)
            mass += blocks[3, b]
    return total if highest != -np.inf else np.nan, cross, mass


@jit()
def _finish(values: Any, share: Any, blocks: Any, factor: float, pull: float) -> None:
    """Exponentials of a row to its gradient, but at the target."""
    for b in range(blocks.shape[1]):
        part = values[b * BLOCK : (b + 1) * BLOCK]
        scale = as_wide(blocks[0, b] * factor, values[0])
        if share.size:
            less = share[b * BLOCK : (b + 1) * BLOCK]
            _scale_less(part, scale, less, as_wide(pull, values[0]))
        else:
            _scale(part, scale)


@jit()
def _short_row(row: Any, t: int, gradient: Any, scratch: Any, pull: float) -> Any:
    """Top, total and the target's probability of a row of one block; the others' gradient."""
    top = _finite(_top(row))
    total = np.float64(_exp_into(row, top, scratch))
    if total == 0.0:  # there was nothing but -inf
        total = np.float64(np.nan)
    factor = as_wide(pull / total, scratch[0])
    for j in range(scratch.size):
        gradient[j] = scratch[j] * factor
    return np.float64(top), total, np.float64(scratch[t]) / total


@cache
def early_kernel(dtype: str) -> Any:
    """The same, and the gradient of each row times pull[0]; float32 and float64 only.

    The exponentials are kept where the gradient will be, and scaled once their sum is known.
    """
    bits, wide = _bits_and_wide(dtype)
    size = wide().itemsize

    def early(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes = call.rows, call.classes
        over = call.gradient == call.logits
        hard = call.target != 0
        target = carray(pointer(call.target), rows, np.int64)
        weight = carray(pointer(call.weight), classes, np.float64)
        top = carray(pointer(call.top), rows, np.float64)
        total = carray(pointer(call.total), rows, np.float64)
        mass = carray(pointer(call.mass), rows, np.float64)
        cross = carray(pointer(call.cross), rows, np.float64)
        pull = carray(pointer(call.pull), 1, np.float64)[0]
        blocks = np.empty((4, (classes + BLOCK - 1) // BLOCK))
        scratch = np.empty(BLOCK, wide)
        short, one = hard and classes <= BLOCK and call.share == 0, scratch[:classes]
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            for n in range(start, min(rows, start + call.rows_at_once)):
                row = carray(pointer(call.logits + n * classes * size), classes, bits)
                grad = carray(pointer(call.gradient + n * classes * size), classes, wide)
                start_of = call.share + n * call.share_stride * size
                share = carray(pointer(start_of), classes if call.share != 0 else 0, wide)
                t = target[n] if hard else 0
                if hard and t == call.ignore_index:
                    top[n], total[n], mass[n], cross[n] = 0.0, 1.0, 0.0, 0.0
                    _clear(grad)
                    continue
                at_target = np.float64(widen(row[t]))
                if short:
                    part_t = call.hard * (weight[t] if call.weight != 0 else 1.0)
                    top[n], total[n], p_t = _short_row(row, t, grad, one, part_t * pull)
                    mass[n], cross[n] = part_t, _times(part_t, at_target - top[n])
                    grad[t] = as_wide(part_t * pull * (p_t - 1.0), one[0])
                    continue
                top[n] = _leave_exponentials(row, grad, scratch, share, blocks, over)
                total[n], cross[n], mass[n] = _gathered(blocks, top[n], share.size > 0)
                part_t = 0.0
                if hard:
                    part_t = call.hard * (weight[t] if call.weight != 0 else 1.0)
                    cross[n] += _times(part_t, at_target - top[n])
                    mass[n] += part_t
                p_t = np.float64(grad[t]) * blocks[0, t // BLOCK] / total[n]
                _finish(grad, share, blocks, mass[n] * pull / total[n], pull)
                if hard:
                    rest = np.float64(share[t]) if share.size else 0.0
                    grad[t] = as_wide(pull * (mass[n] * p_t - part_t - rest), scratch[0])

    return _kernel(early)


@cache
def late_kernel(dtype: str) -> Any:
    """The gradient of each row times its own pull, from top, total and mass; rounded once."""
    bits, wide = _bits_and_wide(dtype)
    size, wide_size = bits().itemsize, wide().itemsize

    def late(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes = call.rows, call.classes
        target = carray(pointer(call.target), rows, np.int64)
        weight = carray(pointer(call.weight), classes, np.float64)
        top = carray(pointer(call.top), rows, np.float64)
        total = carray(pointer(call.total), rows, np.float64)
        mass = carray(pointer(call.mass), rows, np.float64)
        pull = carray(pointer(call.pull), rows, np.float64)
        scratch = np.empty(BLOCK, wide)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            for n in range(start, min(rows, start + call.rows_at_once)):
                row = carray(pointer(call.logits + n * classes * size), classes, bits)
                grad = carray(pointer(call.gradient + n * classes * size), classes, bits)
                if call.target != 0 and target[n] == call.ignore_index:
                    _clear(grad)
                    continue
                share = carray(
                    pointer(call.share + n * call.share_stride * wide_size), classes, wide
                )
                shift = as_wide(top[n], scratch[0])
                factor = as_wide(mass[n] * pull[n] / total[n], scratch[0])
                t = target[n] if call.target != 0 else 0
                p_t = math.exp(np.float64(widen(row[t])) - top[n]) / total[n]
                for low in range(0, classes, BLOCK):
                    block = row[low : low + BLOCK]
                    into = grad[low : low + BLOCK]
                    _exp_into(block, shift, scratch)
                    if call.share != 0:
                        part = share[low : low + BLOCK]
                        _scale_less(
                            scratch[: part.size], factor, part, as_wide(pull[n], scratch[0])
                        )
                        _narrow_into(scratch[: part.size], into)
                    else:
                        _scaled_into(scratch[: into.size], factor, into)
                if call.target != 0:
                    rest = np.float64(share[t]) if call.share != 0 else 0.0
                    part_t = call.hard * (weight[t] if call.weight != 0 else 1.0)
                    exact = pull[n] * (mass[n] * p_t - part_t - rest)
                    grad[t] = narrow(as_wide(exact, scratch[0]), grad[t])

    return _kernel(late)
