"""The suite on trial: is every mutant caught by a rule that it names, every variant spared?"""

from __future__ import annotations

import itertools
import math
import platform
import threading
import time
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from .discover import mutants, variants
from .errors import UsageError
from .isolation import ForkServer
from .model import BAD_OUTCOMES, Implementation, Mutant, Profile, Result
from .pool import in_parallel
from .provenance import commit, now
from .runner import PRELOAD_TRIAL, IsolatedRunner, Job
from .wish import Wish

Status: TypeAlias = Literal[
    "caught", "caught elsewhere", "survived", "not asked", "spared", "flagged"
]
L = TypeVar("L")

#: A variant may compile, or be slow on purpose.
TIMEOUT_S = 120.0
#: Losses that one worker tries: it keeps their cases.
MOST_ALIKE = 32


@dataclass(frozen=True)
class Verdict:
    """How one mutant or variant came out.

    ``rule`` is the first that caught (or flagged) it, after ``cases`` of that rule and
    ``seconds`` of judging in all.  ``caught`` names every rule that did, where all ran.
    """

    name: str
    family: str
    status: Status
    rule: str = ""
    dtype: str = ""
    cases: int = 0
    seconds: float = 0.0
    message: str = ""
    caught: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether this is what should be."""
        return self.status in ("caught", "spared", "not asked")


@dataclass
class Trial:
    """What a self-test found."""

    profile: Profile
    seed: int
    matrix: bool
    device: str = "cpu"
    seconds: float = 0.0
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: str = field(default_factory=now)
    mutants: list[Verdict] = field(default_factory=list)
    variants: list[Verdict] = field(default_factory=list)
    #: What each rule took, over all mutants (of a matrix).
    rule_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def passed(self) -> bool:
        """Every mutant caught by a rule that it names, every variant spared."""
        return all(v.good for v in (*self.mutants, *self.variants))

    def alone(self) -> dict[str, list[str]]:
        """Rule -> mutants that only this rule caught (of a matrix)."""
        found: dict[str, list[str]] = {}
        for verdict in self.mutants:
            # The rule that varies everything at once catches most things as well.
            single = [r for r in verdict.caught if not r.startswith("combinations.")]
            if len(single) == 1:
                found.setdefault(single[0], []).append(verdict.name)
        return found

    def likeliest(self) -> list[str]:
        """Rules in the order that finds most mutants soonest (of a matrix).

        Each is the one that catches most of those left for the seconds that it takes.
        """
        left = {v.name: set(v.caught) for v in self.mutants if v.caught}
        order: list[str] = []
        while left:
            kills = Counter(rule for caught in left.values() for rule in caught)
            order.append(
                max(kills, key=lambda rule: kills[rule] / (self.rule_seconds[rule] + 1e-3))
            )
            left = {name: caught for name, caught in left.items() if order[-1] not in caught}
        return order

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``selftest --json``."""
        from . import __version__

        caught = sum(v.status == "caught" for v in self.mutants)
        return {
            "kind": "selftest",
            "run_id": self.run_id,
            "suite_version": __version__,
            "suite_commit": commit(Path(__file__).parent),
            "machine": platform.node(),
            "started_at": self.started_at,
            "profile": self.profile,
            "seed": self.seed,
            "matrix": self.matrix,
            "device": self.device,
            "seconds": round(self.seconds, 1),
            "caught": caught,
            "mutant_count": len(self.mutants),
            "false_alarms": sum(v.status == "flagged" for v in self.variants),
            "variant_count": len(self.variants),
            "passed": self.passed,
            "mutants": [asdict(v) for v in self.mutants],
            "variants": [asdict(v) for v in self.variants],
            "alone": self.alone() if self.matrix else {},
            "likeliest": self.likeliest() if self.matrix else [],
        }


class SelfTest:
    """Tries all mutants and variants whose names fit, in parallel workers."""

    def __init__(
        self,
        *,
        profile: Profile,
        seed: int = 0,
        matrix: bool = False,
        device: str = "cpu",
        jobs: int = 2,
        only: Callable[[str], bool] = lambda name: True,
        told: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        self.trial = Trial(profile, seed, matrix, device)
        self._mutants = [m for m in mutants() if only(m.implementation.name)]
        self._variants = [v for v in variants() if only(v.name)]
        if not self._mutants and not self._variants:
            raise UsageError("no mutant or variant of that name; see `list mutants`.")
        self._jobs = jobs
        self._told = told
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def total(self) -> int:
        """How many verdicts there will be."""
        return len(self._mutants) + len(self._variants)

    def run(self) -> Trial:
        """Try them all; after Ctrl-C the trial holds what was tried."""
        start = time.monotonic()
        with ForkServer(preload=PRELOAD_TRIAL) as server:
            try:
                for _ in in_parallel(
                    self._batches(), lambda batch: self._try_all(server, batch), self._jobs
                ):
                    pass  # each has been told already
            finally:
                self._stopped = True
                self.trial.seconds = time.monotonic() - start
                self.trial.mutants.sort(key=lambda v: v.name)
                self.trial.variants.sort(key=lambda v: v.name)
        return self.trial

    def _batches(self) -> Iterator[Sequence[Mutant | Implementation]]:
        """What one worker tries after another, those that take longest first.

        Alike losses go together, for their cases are then the same; a mutant that is not held
        against every rule is soon done and has a worker to itself.
        """
        yield from _alike(self._variants, lambda v: v, self._jobs)
        if self.trial.matrix:
            yield from _alike(self._mutants, lambda m: m.implementation, self._jobs)
        else:
            yield from ([mutant] for mutant in self._mutants)

    def _try_all(self, server: ForkServer, batch: Sequence[Mutant | Implementation]) -> None:
        runner = IsolatedRunner(server, self._wish(""), timeout_s=TIMEOUT_S)
        try:
            for one in batch:
                if self._stopped:
                    return
                if isinstance(one, Mutant):
                    self._add(self.trial.mutants, self._try_mutant(runner, one))
                else:
                    self._add(self.trial.variants, self._try_variant(runner, one))
        finally:
            runner.close()

    def _add(self, into: list[Verdict], verdict: Verdict) -> None:
        with self._lock:
            if not self._stopped:  # a worker that was killed for Ctrl-C says nothing of a loss
                into.append(verdict)
                self._told(verdict)

    def _wish(self, name: str) -> Wish:
        trial = self.trial
        return Wish(
            name,
            devices=(trial.device,),
            profile=trial.profile,
            seed=trial.seed,
            verdicts_only=True,
        )

    def _jobs_of(self, runner: IsolatedRunner, name: str) -> list[Job]:
        plan = runner.turn_to(self._wish(name))
        runner.probe()
        return [(rule, dtype, device) for rule, dtype, device in plan["jobs"]]

    def _try_mutant(self, runner: IsolatedRunner, mutant: Mutant) -> Verdict:
        name = mutant.implementation.name
        jobs = self._jobs_of(runner, name)
        named = sorted(
            (job for job in jobs if job[0] in mutant.caught_by),
            key=lambda job: mutant.caught_by.index(job[0]),
        )
        if not named:  # its rules start at a later profile, or in another dtype
            return Verdict(name, mutant.implementation.family, "not asked")
        others = [job for job in jobs if job[0] not in mutant.caught_by]
        verdict = self._judge(runner, named, "caught")
        if verdict is None or self.trial.matrix:
            verdict = self._judge(runner, others, "caught elsewhere", verdict) or verdict
        return verdict or Verdict(name, mutant.implementation.family, "survived")

    def _judge(
        self,
        runner: IsolatedRunner,
        jobs: Sequence[Job],
        status: Status,
        earlier: Verdict | None = None,
    ) -> Verdict | None:
        """Run jobs until one catches it, or all of them for a matrix."""
        start, first = time.monotonic(), None
        caught = list(earlier.caught) if earlier else []
        for job in jobs:
            if job[0] in caught:
                continue  # another dtype has shown it
            result = runner.run(job, ())
            with self._lock:
                self.trial.rule_seconds[job[0]] += result.seconds
            if result.outcome not in BAD_OUTCOMES:
                continue
            caught.append(job[0])
            first = first or (result, round(time.monotonic() - start, 3))
            if not self.trial.matrix:
                break
        if earlier is not None:
            return Verdict(**{**asdict(earlier), "caught": tuple(caught)})
        if first is None:
            return None
        return _verdict(*first, status, tuple(caught))

    def _try_variant(self, runner: IsolatedRunner, variant: Implementation) -> Verdict:
        jobs: Sequence[Job] = self._jobs_of(runner, variant.name)
        if self.trial.profile == "quick":
            jobs = one_dtype_each(jobs, variant.name, self.trial.seed)
        start = time.monotonic()
        for job in jobs:
            result = runner.run(job, ())
            known = any(entry.covers(*job) for entry in variant.expected)
            wrong = (*BAD_OUTCOMES, "error")
            if result.level == "must" and result.outcome in wrong and not known:
                return _verdict(result, time.monotonic() - start, "flagged", (job[0],))
        seconds = round(time.monotonic() - start, 3)
        return Verdict(variant.name, variant.family, "spared", seconds=seconds)


def one_dtype_each(jobs: Sequence[Job], name: str, seed: int) -> list[Job]:
    """Each rule in one of the dtypes that it has jobs in: another for the next loss or seed."""
    by_rule: dict[str, list[Job]] = {}
    for job in jobs:
        by_rule.setdefault(job[0], []).append(job)
    return [
        those[zlib.crc32(f"{seed} {name} {rule}".encode()) % len(those)]
        for rule, those in by_rule.items()
    ]


def _alike(
    losses: Sequence[L], declared: Callable[[L], Implementation], jobs: int
) -> Iterator[Sequence[L]]:
    """Losses of one family in batches, at least one for each worker; who lack the same together."""
    most = min(MOST_ALIKE, math.ceil(len(losses) / jobs))

    def key(loss: L) -> tuple[str, tuple[str, ...]]:
        return declared(loss).family, tuple(sorted(declared(loss).lacks))

    for _, group in itertools.groupby(sorted(losses, key=key), lambda loss: key(loss)[0]):
        members = list(group)
        yield from (members[i : i + most] for i in range(0, len(members), most))


def _verdict(result: Result, seconds: float, status: Status, caught: tuple[str, ...]) -> Verdict:
    return Verdict(
        name=result.implementation,
        family=result.family,
        status=status,
        rule=result.rule,
        dtype=result.dtype,
        cases=result.cases,
        seconds=round(seconds, 3),
        message=result.message[:300],
        caught=caught,
    )
