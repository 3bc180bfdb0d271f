"""Many independent tasks on a few threads, each of which waits for a worker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(tasks: Iterable[T], work: Callable[[T], R], jobs: int) -> Iterator[R]:
    """What ``work`` makes of each task, as it comes.

    What it raises is raised here.  After that, or Ctrl-C, no other task is begun, and those
    under way are left to end by themselves: their workers go with the fork server.
    """
    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(work, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
