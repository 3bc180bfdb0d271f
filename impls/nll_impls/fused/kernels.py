"""The kernels: rows of logits to what the loss needs of them, and to their gradient.

A row's target distribution is ``share`` (none, one row for all, or a row each) plus ``hard *
weight[target]`` at the target.  Of each row the kernels find

- ``top``, the maximum m, and ``total``, the sum S of exp(x_j - m),
- ``mass``, the sum W of the distribution, and ``cross``, the sum of share_j (x_j - m),

so that the loss is W log S - cross and its gradient W exp(x_j - m) / S - share_j.  Sums run in
vectors over a block of classes, and in float64 over the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import carray, types

from .bits import as_wide, exp, fetch_add, narrow, pointer, widen, zero
from .loops import (
    BLOCK,
    LONG_BLOCK,
    clear,
    gradient_into,
    gradient_less_into,
    gradient_less_over,
    gradient_over,
    labelled,
    long_loss,
    long_row,
    room,
    settle,
    short_losses,
    short_rows,
)

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
        ("found", np.int64),  # (4, rows) float64: top, total, mass and cross
        ("found_stride", np.int64),
        ("sums", np.int64),  # float64, of the losses of rows_at_once rows each
        ("pull", np.int64),  # what each row's gradient is multiplied by; stride 0 in `early`
    ]
)


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
    """Fills top, total, mass and cross of each row, and the loss of each portion of rows."""
    bits, wide = _bits_and_wide(dtype)
    size, wide_size = bits().itemsize, wide().itemsize

    def loss(address: int) -> None:
        call = carray(pointer(address), 1, CALL)[0]
        rows, classes, hard = call.rows, call.classes, call.target != 0
        target = carray(pointer(call.target), rows, np.int64)
        weighted = classes if call.weight != 0 else 0
        weight = carray(pointer(call.weight), weighted, np.float64)
        found = carray(pointer(call.found), (4, call.found_stride), np.float64)
        sums = carray(pointer(call.sums), rows, np.float64)
        account = np.empty(3)
        group = 2 * BLOCK // classes if classes <= BLOCK and hard and call.share == 0 else 0
        labels: Any = np.empty(group, np.int64)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account[0], account[1], account[2] = 0.0, 1.0, 0.0
            # No top comes from another portion: which thread takes which changes no result.
            n, stop, top = start, min(rows, start + call.rows_at_once), np.nan
            while n < stop:
                if hard and target[n] == call.ignore_index:
                    found[0, n], found[1, n], found[2, n], found[3, n] = 0.0, 1.0, 0.0, 0.0
                    n += 1
                    continue
                row_at = call.logits + n * classes * size
                if group > 0:
                    ahead, parts = target[n:stop], found[2, n:stop]
                    count = labelled(ahead, call.ignore_index, call.hard, weight, labels, parts)
                    those = carray(pointer(row_at), (count, classes), bits)
                    into = found[:, n : n + count]
                    top = short_losses(those, labels[:count], top, into, account)
                    n += count
                    continue
                t, part_t = -1, 0.0
                if hard:
                    t = target[n]
                    part_t = call.hard * (weight[t] if weight.size else 1.0)
                start_of = call.share + n * call.share_stride * wide_size
                share = carray(pointer(start_of), classes if call.share != 0 else 0, wide)
                row = carray(pointer(row_at), classes, bits)
                long_loss(row, share, t, part_t, found[:, n], account)
                n += 1
            sums[start // call.rows_at_once] = settle(account)

    return _kernel(loss)


@cache
def early_kernel(dtype: str) -> Any:
    """The loss of each portion of rows, and the gradient of each row times pull[0].

    The exponentials are kept until their sum is known: where the gradient will be, or for
    16-bit logits, lest they be rounded twice, in a row of float32 of the thread's own.
    """
    bits, wide = _bits_and_wide(dtype)
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
        account, block = np.empty(3), BLOCK if over else LONG_BLOCK
        blocks = np.empty((4, (classes + block - 1) // block))
        group = 2 * BLOCK // classes if classes <= BLOCK and hard and call.share == 0 else 0
        labels: Any = np.empty(group, np.int64)
        parts, found = np.empty(group), np.empty((3, group))
        scratch: Any = np.empty((max(group, 1) * (size < wide_size), classes), wide_bits)
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            account[0], account[1], account[2] = 0.0, 1.0, 0.0
            # No top comes from another portion: which thread takes which changes no result.
            n, stop, top = start, min(rows, start + call.rows_at_once), np.nan
            while n < stop:
                at = n * classes * size
                row_at, grad_at = call.logits + at, call.gradient + at
                grad = carray(pointer(grad_at), classes, bits)
                if hard and target[n] == call.ignore_index:
                    clear(grad)
                    n += 1
                    continue
                if group > 0:
                    ahead = target[n:stop]
                    count = labelled(ahead, call.ignore_index, call.hard, weight, labels, parts)
                    grads = carray(pointer(grad_at), (count, classes), bits)
                    top = short_rows(
                        carray(pointer(row_at), (count, classes), bits),
                        grads,
                        room(grads, scratch),
                        over,
                        labels[:count],
                        parts,
                        pull,
                        top,
                        found,
                        account,
                    )
                    n += count
                    continue
                t, part_t = -1, 0.0
                if hard:
                    t = target[n]
                    part_t = call.hard * (weight[t] if weight.size else 1.0)
                start_of = call.share + n * call.share_stride * wide_size
                share = carray(pointer(start_of), classes if call.share != 0 else 0, wide)
                row = carray(pointer(row_at), classes, bits)
                long_row(
                    row,
                    grad,
                    room(grad, scratch),
                    over,
                    share,
                    t,
                    part_t,
                    pull,
                    blocks,
                    block,
                    account,
                )
                n += 1
            sums[start // call.rows_at_once] = settle(account)

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
        found = carray(pointer(call.found), (4, call.found_stride), np.float64)
        top, total, mass = found[0], found[1], found[2]
        pull = carray(pointer(call.pull), rows, np.float64)
        over = call.gradient == call.logits
        while True:
            start = fetch_add(address, call.rows_at_once)
            if start >= rows:
                break
            for n in range(start, min(rows, start + call.rows_at_once)):
                row = carray(pointer(call.logits + n * classes * size), classes, bits)
                grad = carray(pointer(call.gradient + n * classes * size), classes, bits)
                if call.target != 0 and target[n] == call.ignore_index:
                    clear(grad)
                    continue
                start_of = call.share + n * call.share_stride * wide_size
                share = carray(pointer(start_of), classes, wide)
                nothing = zero(row[0])
                shift = as_wide(top[n], nothing)
                factor = as_wide(mass[n] * pull[n] / total[n], nothing)
                t = target[n] if call.target != 0 else 0
                p_t = np.float64(exp(widen(row[t]) - shift)) / total[n]
                if call.share != 0:
                    less = as_wide(pull[n], nothing)
                    if over:
                        gradient_less_over(row, shift, factor, share, less)
                    else:
                        gradient_less_into(row, shift, factor, share, less, grad)
                elif over:
                    gradient_over(row, shift, factor)
                else:
                    gradient_into(row, shift, factor, grad)
                if call.target != 0:
                    rest = np.float64(share[t]) if call.share != 0 else 0.0
                    part_t = call.hard * (weight[t] if call.weight != 0 else 1.0)
                    exact = pull[n] * (mass[n] * p_t - part_t - rest)
                    grad[t] = narrow(as_wide(exact, nothing), grad[t])

    return _kernel(late)
