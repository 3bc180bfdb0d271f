"""Is the new code slower than the old?  Both run at once, in turn, in processes of their own.

In every round each side is visited once, in random order, so that whatever else the machine
does meets both; the ratio of a round is free of it to first order.  Times are those of the
processor, which do not run while other programs do; what they miss is waiting, and threads
that work no longer side by side.  The median of the ratios
has an interval from order statistics.  It is looked at after 12, 24, 48 and 96 rounds, at a
level that leaves 5 % for all looks together (Bonferroni), and the comparison ends as soon as
the interval lies on one side of the limit.  An alarm means: slower than the limit, even at
the favourable end.  Both sides use one thread unless told otherwise: threads that spin
while they wait for each other count as working.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from ..errors import UsageError
from .sources import Source
from .statistics import LEVEL, Median, median

Verdict: TypeAlias = Literal["slower", "not slower", "undecided"]

LOOKS = (12, 24, 48, 96)
#: A visit lasts about this long, so that short losses are called several times.
VISIT_MS = 25.0
#: Growth of memory beyond both of these is one; less may be the allocator's.
MEMORY_GROWTH = 1.1
MEMORY_BYTES = 4_000_000


class Process:
    """A side in its process; see :mod:`.side`."""

    def __init__(self, source: Source, threads: int) -> None:
        path = os.pathsep.join(filter(None, (str(source.root), os.environ.get("PYTHONPATH"))))
        self._source = source
        self._child = subprocess.Popen(
            [sys.executable, "-m", "nll_conformance.bench.side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, op: str, **given: Any) -> Mapping[str, Any]:
        """Its answer to one message; UsageError where it refuses or is gone."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps({"op": op, **given}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._child.wait()
            raise UsageError(f"the process for {self._source.root} ended with {code}.")
        answer: Mapping[str, Any] = json.loads(line)
        if "refused" in answer:
            raise UsageError(f"{self._source.root}: {answer['refused']}")
        return answer

    def prepare(self, **what: Any) -> int:
        """Load and verify; the bytes of the logits."""
        return int(self.ask("prepare", target=self._source.target, **what)["logits_bytes"])

    def processor_ms(self, calls: int) -> float:
        """The least processor time of some calls."""
        return float(self.ask("time", calls=calls)["processor_ms"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            stream.close()


@dataclass(frozen=True)
class Comparison:
    """New against old: the ratio of times with the interval of the last look, and memory."""

    verdict: Verdict
    ratio: Median
    rounds: int
    old_ms: float
    new_ms: float
    old_bytes: int | None
    new_bytes: int | None

    @property
    def larger(self) -> bool:
        """Whether a call adds more memory than it did."""
        if self.old_bytes is None or self.new_bytes is None:
            return False
        grown = self.new_bytes - self.old_bytes
        return grown > MEMORY_BYTES and self.new_bytes > MEMORY_GROWTH * self.old_bytes

    @property
    def alarm(self) -> bool:
        """Whether something got worse."""
        return self.verdict == "slower" or self.larger


def compare(
    old: Source,
    new: Source,
    limit: float,
    seed: int = 0,
    threads: int = 1,
    told: Callable[[str], None] = lambda text: None,
    **what: Any,
) -> Comparison:
    """Compare two states of a loss; ``what`` are the arguments of ``single.prepare``.

    ``limit`` is the slowdown that is still accepted, 0.05 for 5 %.  Raises UsageError where
    a side cannot be loaded, is wrong on the input, or does not support it.
    """
    with Process(old, threads) as before, Process(new, threads) as after:
        told("verifying both")
        before.prepare(**what)
        after.prepare(**what)
        return contest(before, after, limit, seed, told)


def contest(
    before: Process,
    after: Process,
    limit: float,
    seed: int,
    told: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Compare two processes that are prepared."""
    calls = _calls(before)
    order = random.Random(seed)
    old_ms: list[float] = []
    new_ms: list[float] = []
    sides = [(before, old_ms), (after, new_ms)]
    ratio, verdict = Median(1.0, None, None), judged(Median(1.0, None, None), 1.0)
    for look in LOOKS:
        while len(new_ms) < look:
            order.shuffle(sides)
            for side, times in sides:
                times.append(side.processor_ms(calls))
        ratio = median(_ratios(new_ms, old_ms), 1.0 - (1.0 - LEVEL) / len(LOOKS))
        verdict = judged(ratio, 1.0 + limit)
        told(f"{look} rounds: {ratio.value:.3f}, {verdict}")
        if verdict != "undecided":
            break
    return Comparison(
        verdict,
        ratio,
        len(new_ms),
        median(old_ms).value,
        median(new_ms).value,
        before.ask("memory")["added_bytes"],
        after.ask("memory")["added_bytes"],
    )


def judged(ratio: Median, limit: float) -> Verdict:
    """On which side of the limit the whole interval lies."""
    if ratio.low is None or ratio.high is None:
        return "undecided"
    if ratio.low > limit:
        return "slower"
    return "not slower" if ratio.high < limit else "undecided"


def _ratios(new_ms: list[float], old_ms: list[float]) -> list[float]:
    return [a / b for a, b in zip(new_ms, old_ms, strict=True)]


def _calls(side: Process) -> int:
    """How many calls make a visit."""
    return max(1, min(50, round(VISIT_MS / side.processor_ms(3))))
