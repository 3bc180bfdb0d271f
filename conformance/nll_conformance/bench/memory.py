"""The peak of memory that one call adds, result included.

On a CPU torch's allocator keeps no count, and would not see what Numba, NumPy or C++
allocate.  Linux does: after what was freed has gone back to the system, the high-water mark
of resident memory is set back, and its rise during the call is what the call touched at a
time.  Memory that a loss allocated earlier and keeps is not added.

glibc keeps blocks of up to 32 MiB in a heap whose holes stay resident, so that the same call
would add 8 or 12 MiB.  While it is measured, no hole of 64 KiB or more is left and blocks of that
size are mapped and unmapped by themselves.  Small ones still vary by pages, and Linux counts the
high-water mark in batches of 128 KiB or more for each core and kind of page: on two cores 0.3 MiB
were seen to be missing.  The median of a few measurements counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

#: Measurements of which the median counts.
REPEAT = 3

#: mallopt(3): from which size on a block is mapped by itself; and as glibc has it at last.
_MMAP_THRESHOLD = -3
_MAPPED_BYTES, _USUAL_BYTES = 2**16, 2**25

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
    return statistics.median_low(found)


def _on_cpu(call: Callable[[], Any]) -> int | None:
    with _without_holes():
        try:
            _CLEAR.write_text("5", encoding="ascii")  # proc(5): resets the high-water mark
            before = _kilobytes("VmRSS")
            answer = call()
            peak = _kilobytes("VmHWM")
        except OSError:
            return None
    del answer
    return max(0, peak - before) * 1024


class _Heap(ctypes.Structure):
    """mallinfo2(3), of which the blocks that are mapped by themselves are asked."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@contextlib.contextmanager
def _without_holes() -> Iterator[None]:
    """Within it each large block is mapped by itself, for no hole of the heap can take it."""
    try:
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.mallinfo2.restype = ctypes.c_void_p, _Heap
    except (OSError, AttributeError):  # no glibc, or one before 2.33: an upper bound is left
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
    held = list(_holes(libc))
    libc.malloc_trim(0)
    try:
        yield
    finally:
        for block in held:
            libc.free(block)
        libc.mallopt(_MMAP_THRESHOLD, _USUAL_BYTES)


def _holes(libc: ctypes.CDLL) -> Iterator[ctypes.c_void_p]:
    """Blocks that take up all large holes, from the largest to the smallest; never touched."""
    size = 2 * _USUAL_BYTES
    while size >= _MAPPED_BYTES:
        mapped = libc.mallinfo2().hblks
        block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
        if block.value is not None and libc.mallinfo2().hblks == mapped:
            yield block
        else:
            libc.free(block)
            size //= 2


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
