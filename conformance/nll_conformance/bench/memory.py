"""The peak of memory that one call adds, result included.

On a CPU torch's allocator keeps no count, and would not see what Numba, NumPy or C++
allocate.  Linux does: after what was freed has gone back to the system, the high-water mark
of resident memory is set back, and its rise during the call is what the call touched at a
time.  Memory that a loss allocated earlier and keeps is not added.  What the allocator leaves
unused between blocks is; it varies, so that the smallest of a few measurements counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

#: Measurements of which the smallest counts.
REPEAT = 3

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def added_bytes(ready: Callable[[], Callable[[], Any]], device: str) -> int | None:
    """The peak that a call adds in bytes; None where this system cannot tell.

    ``ready`` prepares a call, which is not measured, and returns it.
    """
    found = []
    for _ in range(REPEAT):
        call = ready()
        gc.collect()
        added = _on_gpu(call) if device == "cuda" else _on_cpu(call)
        if added is None:
            return None
        found.append(added)
    return min(found)


def _on_cpu(call: Callable[[], Any]) -> int | None:
    with contextlib.suppress(OSError, AttributeError):  # no glibc: an upper bound is left
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets the high-water mark
        before = _kilobytes("VmRSS")
        answer = call()
        peak = _kilobytes("VmHWM")
    except OSError:
        return None
    del answer
    return max(0, peak - before) * 1024


def _kilobytes(field: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")


def _on_gpu(call: Callable[[], Any]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    answer = call()
    torch.cuda.synchronize()
    del answer
    return torch.cuda.max_memory_allocated() - before
