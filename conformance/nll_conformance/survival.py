"""The suite under fire: does it outlive every hostile loss, and report it as it should?"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .discover import hostile
from .errors import UsageError
from .isolation import ForkServer
from .model import Hostile, Result
from .options import Options
from .pool import in_parallel
from .report import Report
from .runner import PRELOAD
from .session import Session

#: Seconds for a rule and for an import; enough on a busy machine, where both take 0.1 s.
TIMEOUT_S, LOAD_TIMEOUT_S = 8.0, 10.0
MEMORY_LIMIT_MB = 700


@dataclass(frozen=True)
class Fate:
    """What became of one hostile loss: ``wanted`` and ``got`` in words."""

    name: str
    harm: str
    wanted: str
    got: str
    good: bool
    seconds: float
    message: str = ""


@dataclass
class Survival:
    """What became of all of them."""

    total: int
    seconds: float = 0.0
    fates: list[Fate] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all were tried and each was reported as it should be."""
        return len(self.fates) == self.total and all(fate.good for fate in self.fates)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``selftest --hostile --json``."""
        return {
            "kind": "hostile",
            "passed": self.passed,
            "total": self.total,
            "as_wanted": sum(fate.good for fate in self.fates),
            "seconds": round(self.seconds, 1),
            "losses": [asdict(fate) for fate in self.fates],
        }


class UnderFire:
    """Tries all hostile losses whose names fit, in parallel."""

    def __init__(
        self,
        *,
        jobs: int = 2,
        only: Callable[[str], bool] = lambda name: True,
        told: Callable[[Fate], None] = lambda fate: None,
    ) -> None:
        self._losses = [h for h in hostile() if only(h.implementation.name)]
        if not self._losses:
            raise UsageError("no hostile loss of that name; see `list hostile`.")
        self.survival = Survival(len(self._losses))
        self._jobs, self._told = jobs, told

    def run(self) -> Survival:
        """Try them all; after Ctrl-C ``survival`` holds what was tried."""
        start = time.monotonic()
        with ForkServer(preload=PRELOAD) as server:
            for fate in in_parallel(self._losses, lambda h: face(h, server), self._jobs):
                self.survival.fates.append(fate)
                self.survival.seconds = time.monotonic() - start
                self._told(fate)
        self.survival.fates.sort(key=lambda fate: fate.name)
        return self.survival


def face(harmful: Hostile, server: ForkServer | None = None, **options: Any) -> Fate:
    """Judge one hostile loss and compare what is reported with what should be."""
    start = time.monotonic()
    wanted = f"{harmful.outcome} of {', '.join(harmful.rules) or 'the target'}: {harmful.says}"
    given: dict[str, Any] = {
        "profile": "quick",
        "dtype": ("float32",),
        "rules": (*harmful.rules, *harmful.others),
        "jobs": 1,
        "timeout": TIMEOUT_S,
        "load_timeout": LOAD_TIMEOUT_S,
        "memory_limit": MEMORY_LIMIT_MB,
    }
    try:
        chosen = Options(**{**given, **options})
        report = Session([harmful.implementation.name], chosen, server=server).run()
    except UsageError as error:
        got, message = "refused", str(error)
        good = harmful.outcome == "refused" and harmful.says in message
    else:
        wrong = list(_wrong(harmful, report))
        good = not wrong
        concerned = next(iter(_of(report, harmful.rules)), None)
        got = "; ".join(wrong) or (concerned.outcome if concerned else "")
        message = concerned.message if concerned else ""
    seconds = round(time.monotonic() - start, 3)
    name = harmful.implementation.name
    return Fate(name, harmful.harm, wanted, got[:500], good, seconds, message[:500])


def _of(report: Report, globs: tuple[str, ...]) -> list[Result]:
    return [r for r in report.results if any(fnmatch.fnmatch(r.rule, glob) for glob in globs)]


def _wrong(harmful: Hostile, report: Report) -> Iterator[str]:
    """What of the report is not as it should be."""
    if harmful.outcome == "refused":
        yield "not refused"
    if not report.complete:
        yield "cut short"
    if report.conforms:
        yield "conforms"
    concerned = _of(report, harmful.rules)
    if not concerned:
        yield "its rules were not judged"
    for result in concerned:
        if result.outcome != harmful.outcome or harmful.says not in result.message:
            yield f"{result.rule} {result.outcome}: {result.message[:200]}"
    judged = _of(report, harmful.others)
    missing = [glob for glob in harmful.others if not any(r.rule == glob for r in judged)]
    if missing:
        yield f"not judged: {', '.join(missing)}"
    for result in judged:
        if result.outcome != "pass":
            yield f"also {result.rule} {result.outcome}: {result.message[:200]}"
