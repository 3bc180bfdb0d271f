"""Timing one call: wall time on a CPU, events on a GPU."""

from __future__ import annotations

import functools
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Sample:
    """What one timed call took: by the clock, of the processor (all threads), page faults.

    On a GPU both times are the events'.
    """

    time_ms: float
    processor_ms: float
    page_faults: int = 0


def timed(call: Callable[[], Any], device: str) -> tuple[Sample, Any]:
    """Time one call and return what it returned."""
    return _on_gpu(call) if device == "cuda" else _on_cpu(call)


def _on_cpu(call: Callable[[], Any]) -> tuple[Sample, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    spent, start = time.process_time_ns(), time.perf_counter_ns()
    answer = call()
    end, spent_then = time.perf_counter_ns(), time.process_time_ns()
    after = resource.getrusage(resource.RUSAGE_SELF)
    sample = Sample(
        (end - start) * 1e-6,
        (spent_then - spent) * 1e-6,
        after.ru_minflt - before.ru_minflt,
    )
    return sample, answer


#: More than the second-level cache of any GPU so far.
_CACHE_BYTES = 256 * 2**20
#: Each takes about 0.1 ms.
_TIMES_EMPTIED = 40
#: Not annotated in torch.
_event: Any = torch.cuda.Event


@functools.cache
def _larger_than_cache() -> torch.Tensor:
    return torch.empty(_CACHE_BYTES, dtype=torch.uint8, device="cuda")


def _on_gpu(call: Callable[[], Any]) -> tuple[Sample, Any]:
    """From an empty cache; what Python needs to start the call passes while it is emptied.

    So it is the time of a GPU that is kept busy, as in training; a call that waits for the GPU
    pays for that.
    """
    start, end = (_event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    for _ in range(_TIMES_EMPTIED):
        _larger_than_cache().zero_()
    start.record()
    answer = call()
    end.record()
    torch.cuda.synchronize()
    took = start.elapsed_time(end)
    return Sample(took, took), answer
