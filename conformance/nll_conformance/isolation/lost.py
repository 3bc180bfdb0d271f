"""What is said of a worker that is no more."""

from __future__ import annotations

import signal
from typing import Final

#: A worker leaves with it when its channel is gone; nobody else should use that number.
CHANNEL_CLOSED_STATUS: Final = 81


class WorkerLost(Exception):
    """The worker is gone: ``reason`` in a few words, ``tail`` the end of its output."""

    def __init__(self, reason: str, tail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tail = tail


class WorkerDied(WorkerLost):
    """It ended, or it lives but can no longer be talked to and was killed."""


class WorkerTimedOut(WorkerLost):
    """It did not answer before the deadline and was killed."""


class WorkerOutOfMemory(WorkerLost):
    """It and its children grew above the memory limit and were killed."""


def reason(status: int | None) -> str:
    """How a process ended, in words; None is one that lives but cannot be talked to."""
    if status is None or status == CHANNEL_CLOSED_STATUS:
        return "closed its channel"
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-status}"
