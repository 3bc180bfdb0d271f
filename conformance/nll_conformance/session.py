"""A run from options to report: load, smoke test, probe, then every rule, in parallel."""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import functools
import os
import platform
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import expected as expectations
from . import results as files
from .discover import registered
from .errors import UsageError, unknown
from .isolation import ForkServer
from .model import BAD_OUTCOMES, PROFILES, SPEC_VERSION, Expected, Profile, Result
from .provenance import commit, database, now
from .report import SCHEMA, Report, RuleFacts
from .runner import PRELOAD, IsolatedRunner, Job, LocalRunner, Runner
from .wish import Wish

#: After so many time-outs in a row the rest of an implementation's rules is not tried.
PATIENCE = 3


@dataclass(frozen=True)
class Options:
    """What a run is asked for; the names are those of the command line."""

    family: str | None = None
    supports: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    declare: Mapping[str, str] = field(default_factory=dict)
    dtype: tuple[str, ...] = ()
    device: tuple[str, ...] = ("cpu",)
    profile: Profile = "standard"
    rules: tuple[str, ...] = ()
    random: bool = False
    seed: int | None = None
    jobs: int | None = None
    timeout: float = 30.0
    memory_limit: int | None = None
    isolation: bool = True
    fail_fast: bool = False
    expected: str | os.PathLike[str] | None = None
    strict: bool = False
    json: str | os.PathLike[str] | None = None
    resume: str | os.PathLike[str] | None = None


class Listener(Protocol):
    """Told of the progress of a run."""

    def started(self, implementation: str, rule: str, dtype: str, index: int, total: int) -> None:
        """A rule begins."""

    def finished(self, result: Result) -> None:
        """A rule has a result."""


class _Silence:
    def started(self, *_: Any) -> None: ...
    def finished(self, _: Result) -> None: ...


@dataclass
class _Target:
    """One target of the run: its plan and what is left to do."""

    wish: Wish
    plan: Mapping[str, Any]
    seen: Mapping[str, str]
    left: deque[Job]
    entries: tuple[expectations.Entry, ...]
    timeouts: int = 0

    @functools.cached_property
    def order(self) -> dict[Job, int]:
        """The place of each job in the plan."""
        return {_job(job): place for place, job in enumerate(self.plan["jobs"])}

    @property
    def name(self) -> str:
        return str(self.plan["described"]["name"])

    def pinned(self, job: Job) -> list[Mapping[str, Any]]:
        """The cases of the expected failures that cover the job."""
        return [
            entry.expected.case
            for entry in self.entries
            if entry.expected.case is not None
            and entry.implementation == self.name
            and entry.expected.covers(*job)
        ]


class Session:
    """One run; :meth:`run` does it, :attr:`report` holds what is known at any moment."""

    def __init__(
        self,
        targets: Sequence[str | Any],
        options: Options,
        listener: Listener | None = None,
    ) -> None:
        _validate(options)
        self.options = options
        self.rules: dict[str, RuleFacts] = {}
        self._listener = listener or _Silence()
        self._given = list(targets)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._results: list[tuple[tuple[int, int], Result]] = []
        self._runners: list[Runner] = []
        self._header: dict[str, Any] = {}
        self._footer: dict[str, Any] | None = None
        self._writer: files.Writer | None = None
        self._earlier: Report | None = None
        self._failure: BaseException | None = None
        self._server: ForkServer | None = None
        self._started = time.monotonic()
        self._targets: list[_Target] = []

    @property
    def report(self) -> Report:
        """Header and results so far, in the order of the plan."""
        with self._lock:
            ordered = [result for _, result in sorted(self._results, key=lambda item: item[0])]
        return Report(self._header, tuple(ordered), self._footer)

    def run(self) -> Report:
        """Judge everything; Ctrl-C ends the run with what was judged.

        Raises UsageError for anything the caller gave wrong, before results are written.
        """
        if self.options.json is not None:
            files.ensure_writable(self.options.json)
        if self.options.resume is not None:
            self._earlier = files.read(self.options.resume)
        interrupted = False
        try:
            self._prepare()
            self._judge_all()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure
        if not self._header:
            raise KeyboardInterrupt
        self._finish(interrupted)
        return self.report

    def _prepare(self) -> None:
        with_server = self.options.isolation and all(isinstance(t, str) for t in self._given)
        if with_server:
            self._server = ForkServer(preload=PRELOAD)
            self._server.start()
        self._seed = self._choose_seed()
        entries: tuple[expectations.Entry, ...] = ()
        for number, given in enumerate(_expanded(self._given)):
            target = self._load(given)
            self._targets.append(target)
            if number == 0 and self.options.expected is not None:
                entries = expectations.load(self.options.expected, rules=self.rules)
            target.entries += entries
        names = [target.name for target in self._targets]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two targets are called {name!r}; give each one once.")
        self._header = self._make_header()
        if self.options.resume is not None:
            self._take_over()
        elif self.options.json is not None:
            self._writer = files.create(self.options.json, self._header)

    def _load(self, given: str | Any) -> _Target:
        name = given if isinstance(given, str) else _name_of(given)
        wish = self._wish(name)
        runner = self._runner(wish, None if isinstance(given, str) else given)
        plan = runner.load()
        self.rules.update(
            {
                rule: RuleFacts(facts["sentence"], facts["source"], tuple(facts["needs"]))
                for rule, facts in plan["rules"].items()
            }
        )
        declared = tuple(
            expectations.Entry(plan["described"]["name"], Expected(**entry), "declaration")
            for entry in plan["expected"]
        )
        target = _Target(wish, plan, {}, deque(map(_job, plan["jobs"])), declared)
        fatal = runner.smoke()
        if fatal is not None:
            self._keep(fatal, (len(self._targets), -1))
            target.left = deque(job for job in target.left if job[0] != fatal.rule)
        else:
            target.seen = runner.probe()
        plan["described"]["divergences_seen"] = dict(target.seen)
        return target

    def _wish(self, name: str) -> Wish:
        options = self.options
        return Wish(
            target=name,
            family=options.family,
            supports=options.supports,
            lacks=options.lacks,
            declare=dict(options.declare),
            dtypes=options.dtype,
            devices=options.device,
            profile=options.profile,
            rules=options.rules,
            seed=self._seed,
            database=database() if options.random else None,
        )

    def _runner(self, wish: Wish, target: Any | None = None) -> Runner:
        runner: Runner
        if self._server is None:
            runner = LocalRunner(wish, target)
        else:
            runner = IsolatedRunner(
                self._server,
                wish,
                timeout_s=self.options.timeout,
                memory_limit_mb=self.options.memory_limit,
            )
        self._runners.append(runner)
        return runner

    def _choose_seed(self) -> int:
        if self.options.seed is not None:
            return self.options.seed
        return int.from_bytes(os.urandom(4), "big") if self.options.random else 0

    # --- judging -------------------------------------------------------------------------

    def _judge_all(self) -> None:
        """Share the jobs among threads, one runner each."""
        self._total = sum(len(target.left) for target in self._targets)
        first: list[Runner | None] = list(self._runners)  # those that loaded the targets, one each
        if self._server is None:
            for number in range(len(self._targets)):
                self._judge(number, first)
            return
        jobs = self.options.jobs or min(2, os.cpu_count() or 1)
        threads = [
            threading.Thread(target=self._guarded, args=(n, first), daemon=True)
            for n in range(jobs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # so that Ctrl-C arrives

    def _guarded(self, number: int, first: list[Runner | None]) -> None:
        try:
            self._judge(number, first)
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            if not self._stop.is_set():
                self._failure = error
            self._stop.set()

    def _judge(self, number: int, first: list[Runner | None]) -> None:
        """Work through the targets, beginning with the own one, until nothing is left."""
        count = len(self._targets)
        for place in [*range(number % count, count), *range(number % count)]:
            target = self._targets[place]
            runner: Runner | None = None
            while (job := self._next(target)) is not None:
                if runner is None:
                    runner = self._take_runner(place, first)
                self._listener.started(target.name, job[0], job[1], 0, self._total)
                result = runner.run(job, target.pinned(job))
                self._judged(place, target, job, result)
            if runner is not None:
                runner.close()

    def _take_runner(self, place: int, first: list[Runner | None]) -> Runner:
        with self._lock:
            loaded, first[place] = first[place], None
        if loaded is not None:
            return loaded
        runner = self._runner(self._targets[place].wish)
        runner.load()
        if self._targets[place].seen:
            runner.assume(self._targets[place].seen)
        return runner

    def _next(self, target: _Target) -> Job | None:
        with self._lock:
            if self._stop.is_set() or not target.left:
                return None
            return target.left.popleft()

    def _judged(self, place: int, target: _Target, job: Job, result: Result) -> None:
        today = dt.datetime.now(dt.UTC).date()
        case_run = bool(target.pinned(job))
        result = expectations.apply(result, target.entries, today, case_run=case_run)
        target.timeouts = target.timeouts + 1 if result.outcome == "timeout" else 0
        self._keep(result, (place, target.order[job]))
        if target.timeouts >= PATIENCE:
            self._give_up(place, target)
        bad = result.outcome in BAD_OUTCOMES and result.level == "must"
        if self.options.fail_fast and bad:
            self._stop.set()

    def _keep(self, result: Result, order: tuple[int, int]) -> None:
        with self._lock:
            keep = self._writer.add if self._writer is not None else files.tame
            result = keep(result)
            self._results.append((order, result))
            self._listener.finished(result)

    def _give_up(self, place: int, target: _Target) -> None:
        while (job := self._next(target)) is not None:
            facts = target.plan["rules"][job[0]]
            self._keep(
                Result(
                    target.name,
                    target.plan["described"]["family"],
                    job[0],
                    facts["revision"],
                    facts["level"],
                    job[1],
                    job[2],
                    "not_run",
                    message=f"not tried: {PATIENCE} time-outs in a row",
                ),
                (place, target.order[job]),
            )

    # --- beginning and end ---------------------------------------------------------------

    def _make_header(self) -> dict[str, Any]:
        described = [target.plan["described"] for target in self._targets]
        environment = self._targets[0].plan["environment"] if self._targets else {}
        from . import __version__

        return {
            "kind": "header",
            "schema": SCHEMA,
            "suite_version": __version__,
            "spec_version": SPEC_VERSION,
            "run_id": uuid.uuid4().hex,
            "implementations": described,
            "declaration": {d["name"]: d["declaration"] for d in described},
            "environment": environment,
            "subject_commit": commit(Path.cwd()),
            "suite_commit": commit(Path(__file__).parent),
            "machine": platform.node(),
            "mode": "random" if self.options.random else "deterministic",
            "seed": self._seed,
            "profile": self.options.profile,
            "rules": list(self.options.rules),
            "isolation": self._server is not None,
            "started_at": now(),
        }

    def _take_over(self) -> None:
        """Continue the results file: what has a result there is not judged again."""
        assert self.options.resume is not None and self._earlier is not None
        for key in ("seed", "profile", "spec_version", "mode"):
            if self._earlier.header[key] != self._header[key]:
                raise UsageError(
                    f"cannot resume {self.options.resume}: its {key} is "
                    f"{self._earlier.header[key]!r}, this run's {self._header[key]!r}."
                )
        known = {d["name"] for d in self._earlier.header["implementations"]}
        if known != {target.name for target in self._targets}:
            raise UsageError(
                f"cannot resume {self.options.resume}: it is about {', '.join(sorted(known))}."
            )
        earlier, self._writer = files.resume(self.options.resume)
        self._header = dict(earlier.header)
        done = {r.key: r for r in earlier.results if r.outcome != "not_run"}
        for place, target in enumerate(self._targets):
            for job in list(target.left):
                if (target.name, *job) in done:
                    target.left.remove(job)
                    result = done[(target.name, *job)]
                    self._results.append(((place, target.order[job]), result))

    def _end(self) -> None:
        self._stop.set()
        for runner in self._runners:
            with contextlib.suppress(Exception):
                if isinstance(runner, IsolatedRunner) and self._stop.is_set():
                    runner.kill()
                runner.close()
        if self._server is not None:
            self._server.close()

    def _finish(self, interrupted: bool) -> None:
        report = self.report
        footer = report.make_footer(
            interrupted=interrupted,
            finished_at=now(),
            seconds=round(time.monotonic() - self._started, 3),
            strict=self.options.strict,
        )
        self._footer = footer
        if self._writer is not None:
            self._writer.finish(footer)


def check(loss: str | Any, **options: Any) -> Report:
    """Judge a loss and return the report.

    ``loss`` is a TARGET of the command line, judged in a worker process, or a callable, an
    ``nn.Module`` class or instance, or an ``Implementation``, judged within this process.
    ``options`` are the fields of :class:`Options`; a tuple-valued one may be given as one
    string.  Raises UsageError for a target that cannot be called or a wrong option.
    """
    fields = Options.__dataclass_fields__
    for name in options:
        if name not in fields:
            raise unknown("option", name, fields)
    tuples = ("supports", "lacks", "dtype", "device", "rules")
    for name in tuples:
        if isinstance(options.get(name), str):
            words = (word.strip() for word in options[name].split(","))
            options[name] = tuple(word for word in words if word)
        elif name in options:
            options[name] = tuple(options[name])
    return Session([loss], Options(**options)).run()


def _expanded(given: Sequence[str | Any]) -> list[str | Any]:
    """Globs over registered names (``torch_*``) replaced by what they match.

    What is not installed is left out of them, as far as its ``load`` can tell by ``missing()``
    without importing anything; by its own name it is refused.
    """
    found: list[str | Any] = []
    for target in given:
        if not isinstance(target, str) or "*" not in target:
            found.append(target)
            continue
        names = fnmatch.filter(registered(), target)
        if not names:
            raise unknown("implementation", target, registered())
        there = [name for name in names if not _missing(name)]
        if not there:
            raise UsageError(
                f"nothing that {target!r} matches is installed: {', '.join(names)} "
                f"({'; '.join(sorted({str(_missing(name)) for name in names}))} missing)."
            )
        found += there
    return found


def _missing(name: str) -> str | None:
    """The package that a registered implementation lacks, where it says so."""
    ask = getattr(registered()[name].load, "missing", None)
    return ask() if ask is not None else None


def _job(triple: Sequence[str]) -> Job:
    rule, dtype, device = triple
    return rule, dtype, device


def _validate(options: Options) -> None:
    if options.profile not in PROFILES:
        raise unknown("profile", options.profile, PROFILES)
    if options.timeout <= 0:
        raise UsageError(f"--timeout {options.timeout:g} is not a positive number of seconds.")
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs} is not a positive number.")
    if options.json is not None and options.resume is not None:
        raise UsageError("--resume goes on with its own file: leave --json out.")


def _name_of(loss: Any) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    inner = getattr(loss, "func", None)  # functools.partial
    return str(name or (inner and _name_of(inner)) or type(loss).__name__)
