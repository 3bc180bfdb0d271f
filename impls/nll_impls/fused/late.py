"""The kernel of a gradient that is found after the loss."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from .bits import as_wide, exp, fetch_add, narrow, pointer, widen, zero
from .call import CALL, bits_and_wide, kernel
from .loops import clear, gradient_into, gradient_less_into, gradient_less_over, gradient_over


@cache
def late_kernel(dtype: str) -> Any:
    """The gradient of each row times its own pull, from top, total and mass; rounded once."""
    bits, wide = bits_and_wide(dtype)
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

    return kernel(late)
