"""One target of a run: loaded, smoke-tested and probed, with what is left to judge."""

from __future__ import annotations

import datetime as dt
import functools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import expected as expectations
from .model import Expected, Result
from .report import RuleFacts
from .runner import Job, Runner
from .wish import Wish

#: After so many time-outs in a row the rest of an implementation's rules is not tried.
PATIENCE = 3


@dataclass
class Loaded:
    """Its plan, what its probe saw, and the jobs that are left."""

    wish: Wish
    plan: Mapping[str, Any]
    seen: Mapping[str, str]
    left: deque[Job]
    entries: tuple[expectations.Entry, ...]
    #: The result of a smoke test that took its process along.
    fatal: Result | None = None
    timeouts: int = 0

    @classmethod
    def by(cls, runner: Runner, wish: Wish) -> Loaded:
        """Load the target with that runner; raises UsageError where it cannot be called."""
        plan = runner.load()
        jobs = [_job(triple) for triple in plan["jobs"]]
        declared = tuple(
            expectations.Entry(plan["described"]["name"], Expected(**entry), "declaration")
            for entry in plan["expected"]
        )
        fatal = runner.smoke()
        seen = runner.probe() if fatal is None else {}
        left = deque(job for job in jobs if fatal is None or job[0] != fatal.rule)
        plan["described"]["divergences_seen"] = dict(seen)
        return cls(wish, plan, seen, left, declared, fatal)

    @functools.cached_property
    def order(self) -> dict[Job, int]:
        """The place of each job in the plan."""
        return {_job(job): place for place, job in enumerate(self.plan["jobs"])}

    @property
    def name(self) -> str:
        """The implementation's."""
        return str(self.plan["described"]["name"])

    @property
    def facts(self) -> dict[str, RuleFacts]:
        """What renderers say of its rules."""
        return {
            rule: RuleFacts(
                facts["sentence"], facts["source"], tuple(facts["needs"]), facts["refusal_passes"]
            )
            for rule, facts in self.plan["rules"].items()
        }

    def judge(self, job: Job, runner: Runner) -> Result:
        """The result of one job in the light of the expected failures."""
        if self.timeouts >= PATIENCE:
            why = f"{PATIENCE} time-outs in a row"
            facts = self.plan["rules"][job[0]]
            return Result(
                implementation=self.name,
                family=self.plan["described"]["family"],
                rule=job[0],
                revision=facts["revision"],
                level=facts["level"],
                dtype=job[1],
                device=job[2],
                outcome="not_run",
                message=f"not tried: {why}",
                reason=f"not tried: {why}",
            )
        pinned = self._pinned(job)
        result = runner.run(job, pinned)
        self.timeouts = self.timeouts + 1 if result.outcome == "timeout" else 0
        return self.excused(result, case_run=bool(pinned))

    def excused(self, result: Result, *, case_run: bool) -> Result:
        """The result as the expected failures of today have it."""
        today = dt.datetime.now(dt.UTC).date()
        return expectations.apply(result, self.entries, today, case_run=case_run)

    def _pinned(self, job: Job) -> list[Mapping[str, Any]]:
        """The cases of the expected failures that cover the job."""
        return [
            entry.expected.case
            for entry in self.entries
            if entry.expected.case is not None
            and entry.implementation == self.name
            and entry.expected.covers(*job)
        ]


def _job(triple: list[str]) -> Job:
    rule, dtype, device = triple
    return rule, dtype, device
