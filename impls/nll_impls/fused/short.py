"""Rows of one block each, some at a time, each with a target and nothing else.

Each step is done for all of them before the next: it takes shorter than what it waits for, and
the processor then works on several rows at a time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from .bits import as_wide, fetch, fetch_add, jit, narrow, pointer, widen, zero
from .call import CALL, bits_and_wide, kernel
from .loops import (
    BLOCK,
    LARGE,
    SMALL,
    clear,
    exp_into,
    exp_sum,
    finite,
    highest_of,
    scale_into,
    settled,
    times,
    with_row,
)

#: Logits of the rows that are taken at a time: with their exponentials and their gradient they
#: fit into the first cache.
AT_ONCE = 2 * BLOCK
#: Classes in a segment of a row, and how many bytes ahead of it memory is asked.  By itself a
#: processor starts anew at each page, and no row is long enough to make up for that; asked for
#: more lines than it can wait for, it stops.  Measured: 1.2 copies and not 1.6 at 8192 x 1000.
SEGMENT, AHEAD = 256, 8192
#: Bytes in a line of the caches.
LINE = 64


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


@jit()
def _fetch_ahead(segment: Any) -> None:
    start = segment.ctypes.data + AHEAD
    for line in range(0, segment.size * segment.itemsize, LINE):
        fetch(start + line)


@jit()
def _exp_sum(row: Any, shift: Any) -> float:
    total = 0.0
    for low in range(0, row.size, SEGMENT):
        segment = row[low : low + SEGMENT]
        _fetch_ahead(segment)
        total += exp_sum(segment, shift)
    return total


@jit()
def _exp_into(row: Any, shift: Any, into: Any) -> float:
    total = 0.0
    for low in range(0, row.size, SEGMENT):
        segment = row[low : low + SEGMENT]
        _fetch_ahead(segment)
        total += exp_into(segment, shift, into[low : low + SEGMENT])
    return total


@jit()
def _scale_into(values: Any, factor: Any, into: Any) -> None:
    for low in range(0, values.size, SEGMENT):
        segment = into[low : low + SEGMENT]
        _fetch_ahead(segment)
        scale_into(values[low : low + SEGMENT], factor, segment)


@jit()
def _losses_of(rows: Any, target: Any, top: float, found: Any, account: Any) -> Any:
    """Top, total and cross of some rows, whose targets' weights are the masses; the account.

    ``found`` is four arrays (n,): tops, totals, masses, crosses.  Each row is first shifted by
    the top of the one before, which is ``top`` at first, and returned at last.
    """
    nothing = zero(rows[0, 0])
    tops, totals, parts, crosses = found
    for n in range(target.size):
        total = _exp_sum(rows[n], as_wide(top, nothing))
        if not SMALL <= total < LARGE:
            top = np.float64(finite(highest_of(rows[n])))
            total = _exp_sum(rows[n], as_wide(top, nothing))
        tops[n], totals[n] = top, total
    for n in range(target.size):
        if not totals[n] > 0.0:
            totals[n] = np.nan  # there was nothing but -inf
        crosses[n] = times(parts[n], np.float64(widen(rows[n, target[n]])) - tops[n])
        account = with_row(account, parts[n], totals[n], crosses[n])
    return top, account


@cache
def loss_kernel(dtype: str) -> Any:
    """As :func:`long.loss_kernel`."""
    bits, _ = bits_and_wide(dtype)
    size = bits().itemsize

    def loss(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes = call.rows, call.classes
        target = carray(pointer(call.target), rows, np.int64)
        weight = carray(pointer(call.weight), classes if call.weight != 0 else 0, np.float64)
        found = carray(pointer(call.found), (4, call.found_stride), np.float64)
        tops, totals, masses, crosses = found[0], found[1], found[2], found[3]
        sums = carray(pointer(call.sums), rows, np.float64)
        labels: Any = np.empty(AT_ONCE // classes, np.int64)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account = (0.0, 1.0, 0.0)
            # No top comes from another portion: which thread takes which changes no result.
            n, stop, top = start, min(rows, start + call.rows_at_once), np.nan
            while n < stop:
                if target[n] == call.ignore_index:
                    tops[n], totals[n], masses[n], crosses[n] = 0.0, 1.0, 0.0, 0.0
                    n += 1
                    continue
                ahead = target[n:stop]
                end = n + labelled(
                    ahead, call.ignore_index, call.hard, weight, labels, masses[n:stop]
                )
                those = carray(pointer(call.logits + n * classes * size), (end - n, classes), bits)
                into = (tops[n:end], totals[n:end], masses[n:end], crosses[n:end])
                top, account = _losses_of(those, labels[: end - n], top, into, account)
                n = end
            sums[start // call.rows_at_once] = settled(account)

    return kernel(loss)


@jit()
def _gradients_of(
    rows: Any,
    into: Any,
    kept: Any,
    target: Any,
    parts: Any,
    pull: float,
    top: float,
    found: Any,
    account: Any,
) -> Any:
    """The gradients of some rows, ``parts`` being the weights of their targets; the account.

    ``kept`` is where the exponentials go.  Each row is first shifted by the top of the one
    before, which is ``top`` at first, and returned at last.
    """
    nothing = zero(rows[0, 0])
    tops, totals, at = found
    for n in range(target.size):
        at[n] = widen(rows[n, target[n]])
    for n in range(target.size):
        totals[n] = _exp_into(rows[n], as_wide(top, nothing), kept[n])
        if not SMALL <= totals[n] < LARGE:
            top = np.float64(finite(highest_of(rows[n])))
            totals[n] = _exp_into(rows[n], as_wide(top, nothing), kept[n])
        tops[n] = top
    for n in range(target.size):
        part = parts[n]
        total = totals[n] if totals[n] > 0.0 else np.nan  # there was nothing but -inf
        account = with_row(account, part, total, times(part, at[n] - tops[n]))
        p_t = np.float64(widen(kept[n, target[n]])) / total
        at[n] = part * pull * (p_t - 1.0)
        totals[n] = part * pull / total
    for n in range(target.size):
        _scale_into(kept[n], as_wide(totals[n], nothing), into[n])
        into[n, target[n]] = narrow(as_wide(at[n], nothing), into[n, 0])
    return top, account


@cache
def early_kernel(dtype: str) -> Any:
    """As :func:`long.early_kernel`, the exponentials in memory of the thread's own."""
    bits, _ = bits_and_wide(dtype)
    size = bits().itemsize
    wide_bits = np.int64 if dtype == "float64" else np.int32

    def early(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes = call.rows, call.classes
        target = carray(pointer(call.target), rows, np.int64)
        weight = carray(pointer(call.weight), classes if call.weight != 0 else 0, np.float64)
        pull = carray(pointer(call.pull), 1, np.float64)[0]
        sums = carray(pointer(call.sums), rows, np.float64)
        most = AT_ONCE // classes
        labels: Any = np.empty(most, np.int64)
        parts, tops, totals, at = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
        kept: Any = np.empty((most, classes), wide_bits)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account = (0.0, 1.0, 0.0)
            # No top comes from another portion: which thread takes which changes no result.
            n, stop, top = start, min(rows, start + call.rows_at_once), np.nan
            while n < stop:
                grad_at = call.gradient + n * classes * size
                if target[n] == call.ignore_index:
                    clear(carray(pointer(grad_at), classes, bits))
                    n += 1
                    continue
                ahead = target[n:stop]
                count = labelled(ahead, call.ignore_index, call.hard, weight, labels, parts)
                row_at = call.logits + n * classes * size
                top, account = _gradients_of(
                    carray(pointer(row_at), (count, classes), bits),
                    carray(pointer(grad_at), (count, classes), bits),
                    kept,
                    labels[:count],
                    parts,
                    pull,
                    top,
                    (tops, totals, at),
                    account,
                )
                n += count
            sums[start // call.rows_at_once] = settled(account)

    return kernel(early)
