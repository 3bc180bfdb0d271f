"""One side of a comparison, a process of its own: ``python -m nll_conformance.bench.side``.

It answers JSON lines on standard input with JSON lines on standard output:
``{"op": "prepare", ...}`` (arguments of :func:`~.single.prepare`), ``{"op": "time", "calls":
n}``, ``{"op": "memory"}``.  What the loss prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .clock import timed
from .single import Prepared, WrongAnswer, prepare


class Side:
    """The loss of one side, prepared."""

    def __init__(self) -> None:
        self._prepared: Prepared | None = None

    def perform(self, op: str, **given: Any) -> Mapping[str, Any]:
        """What a message asks for."""
        if op == "prepare":
            self._prepared = prepare(**given)
            gc.collect()
            gc.disable()
            return {"logits_bytes": self._prepared.logits_bytes}
        assert self._prepared is not None, "nothing was prepared"
        if op == "memory":
            return {"added_bytes": self._prepared.added_bytes()}
        return {"processor_ms": self._time(self._prepared, **given)}

    @staticmethod
    def _time(prepared: Prepared, calls: int) -> float:
        """The least of some calls, for others only ever add; one before them warms up.

        Where tensors lie in memory makes a call faster or slower by several per cent, so every
        visit puts them elsewhere: the rounds then average over it.
        """
        padding = [bytearray(random.randrange(1 << 21)) for _ in range(3)]
        moved = prepared.elsewhere()
        times = []
        for number in range(calls + 1):
            sample, _ = timed(moved.ready(number % 2), moved.device)
            times.append(sample.processor_ms)
        del padding
        return min(times[1:])


def pin() -> None:
    """Keep a single thread on one core, the same for both sides: cores are not alike."""
    if os.environ.get("OMP_NUM_THREADS") == "1" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def serve() -> None:
    """Answer until standard input ends."""
    pin()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    side = Side()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = dict(side.perform(**message))
        except (UsageError, WrongAnswer) as error:
            answer = {"refused": str(error)}
        except Exception as error:  # noqa: BLE001 - told to whoever compares
            answer = {"refused": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
