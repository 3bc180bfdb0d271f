"""What a kernel is told, and how one is made.

A row's target distribution is ``share`` (none, one row for all, or a row each) plus ``hard *
weight[target]`` at the target.  Of each row the kernels find

- ``top``, the maximum m, and ``total``, the sum S of exp(x_j - m),
- ``mass``, the sum W of the distribution, and ``cross``, the sum of share_j (x_j - m),

so that the loss is W log S - cross and its gradient W exp(x_j - m) / S - share_j.  Sums run in
vectors over a block of classes, and in float64 over the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

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


def kernel(body: Callable[[int], None]) -> Any:
    """Machine code for a kernel: called with the address of a CALL, by any thread."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
    signature = types.void(types.int64)
    try:
        return numba.cfunc(signature, cache=True, nopython=True, **options)(body)
    except RuntimeError:
        return numba.cfunc(signature, nopython=True, **options)(body)


def bits_and_wide(dtype: str) -> Any:
    """How a dtype is seen, and what it is computed in."""
    bits: dict[str, Any] = {
        "float32": np.int32,
        "float64": np.int64,
        "bfloat16": np.int16,
        "float16": np.uint16,
    }
    return bits[dtype], np.float64 if dtype == "float64" else np.float32
