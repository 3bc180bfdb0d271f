"""What limits a measurement, in sentences for whoever reads the number."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .clock import Sample
from .statistics import Median, median

#: An interval wider than this part of its median is worth saying.
WIDE = 0.1
#: So is fresh memory of more than this part of the logits.
FRESH = 0.1
PAGE_BYTES = 4096


def of_machine() -> tuple[str, ...]:
    """What other programs do to every measurement of the run."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    if load > 0.5 * cores:
        return (f"other programs were running: load average {load:.1f} on {cores} cores",)
    return ()


def of_samples(samples: Sequence[Sample], time: Median, logits_bytes: int) -> tuple[str, ...]:
    """What the rounds of one contestant say about themselves."""
    found = []
    if time.low is None or time.high is None:
        found.append(f"{len(samples)} rounds are too few for a 95 % interval; 6 are enough")
    elif time.high - time.low > WIDE * time.value:
        found.append(f"noisy: the interval spans more than {WIDE:.0%} of the median; more --rounds")
    fresh = median([s.page_faults for s in samples]).value * PAGE_BYTES
    if fresh > FRESH * logits_bytes:
        found.append(
            f"page faults for {fresh / 1e6:.0f} MB of fresh memory in each call: "
            "part of the time is the system's"
        )
    return tuple(found)


def of_threads(threads: int) -> tuple[str, ...]:
    """More threads than cores measure the scheduler."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if threads > (cores or 1):
        return (f"{threads} threads on {cores} cores",)
    return ()
