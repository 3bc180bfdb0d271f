"""A run whose jobs somebody else schedules: opened, judged job by job, closed.

Test runners order, select, repeat and distribute; the session's own loop is not for them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import expected as expectations
from . import results as files
from .errors import UsageError, unknown
from .isolation import ForkServer
from .model import Result
from .runner import PRELOAD, IsolatedRunner, Job, LocalRunner, Runner
from .session import PATIENCE, Options, Session

if TYPE_CHECKING:
    from .wish import Wish

#: Options of a session that make no sense where somebody else schedules.
_NOT_HERE = ("jobs", "fail_fast", "json", "resume")
_LISTS = ("supports", "lacks", "dtype", "device", "rules")


def options_of(given: Mapping[str, Any]) -> Options:
    """Options from keywords; a list may be written as one text with commas."""
    choices = [name for name in Options.__dataclass_fields__ if name not in _NOT_HERE]
    for name in given:
        if name not in choices:
            raise unknown("option", name, choices)
    lists = {name: _words(value) for name, value in given.items() if name in _LISTS}
    return Options(**{**given, **lists})


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str):
        return tuple(value)
    return tuple(word.strip() for word in value.split(",") if word.strip())


class Servers:
    """Fork servers, shared by runs that import from the same places.

    A server has the import path of the moment at which it was started, and a test runner
    changes its own on the way.
    """

    def __init__(self) -> None:
        self._servers: dict[tuple[str, ...], ForkServer] = {}

    def get(self) -> ForkServer:
        """A server that finds what this process finds now."""
        place = tuple(sys.path)
        if place not in self._servers:
            server = ForkServer(preload=PRELOAD)
            server.start()
            self._servers[place] = server
        return self._servers[place]

    def close(self) -> None:
        """End all of them with their workers."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


@dataclass(frozen=True)
class Step:
    """One job of the target number ``place``."""

    place: int
    job: Job
    #: A result that was known when the run was opened.
    known: Result | None = None


class StepwiseRun(Session):
    """A session that is not run but asked for one result after the other.

    Targets that are paths are looked for in ``folder`` where the working directory does not
    have them; they keep the name that they were given by.
    """

    def __init__(
        self,
        targets: Sequence[str | Any],
        options: Options,
        servers: Servers,
        folder: Path | None = None,
    ) -> None:
        super().__init__([_anchored(target, folder) for target in targets], options)
        self._names = dict(zip(self._given, targets, strict=True)) if _texts(targets) else {}
        self._servers = servers

    def open(self) -> tuple[Step, ...]:
        """Load, smoke-test and probe the targets; the plan.  Raises UsageError."""
        if self.options.isolation and _texts(self._given):
            self._server = self._servers.get()
        self._seed = self._choose_seed()
        entries: tuple[expectations.Entry, ...] = ()
        for number, given in enumerate(self._given):
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
        fatal = {place: result for (place, _), result in self._results}
        return tuple(self._steps(fatal))

    def _steps(self, fatal: Mapping[int, Result]) -> Iterator[Step]:
        for place, target in enumerate(self._targets):
            if place in fatal:  # the smoke test took its process along
                known = fatal[place]
                known = self._excused(place, known, case_run=False)
                yield Step(place, (known.rule, known.dtype, known.device), known)
            for job in target.left:
                yield Step(place, job)
            target.left = deque()

    @property
    def header(self) -> Mapping[str, Any]:
        """The header of a results file of this run."""
        return self._header

    @property
    def planned(self) -> list[str]:
        """The rules that there are jobs for."""
        jobs = (job for target in self._targets for job in target.plan["jobs"])
        return list(dict.fromkeys(job[0] for job in jobs))

    def name_of(self, step: Step) -> str:
        """The implementation that the step is about."""
        return self._targets[step.place].name

    def level_of(self, step: Step) -> str:
        """``must`` or ``should``."""
        return str(self._targets[step.place].plan["rules"][step.job[0]]["level"])

    def judge(self, step: Step) -> Result:
        """The result of one job, in the light of the expected failures."""
        if step.known is not None:
            return files.tame(step.known)
        target = self._targets[step.place]
        if target.timeouts >= PATIENCE:
            return self._not_tried(step)
        pinned = target.pinned(step.job)
        result = self._runners[step.place].run(step.job, pinned)
        target.timeouts = target.timeouts + 1 if result.outcome == "timeout" else 0
        return files.tame(self._excused(step.place, result, case_run=bool(pinned)))

    def _excused(self, place: int, result: Result, *, case_run: bool) -> Result:
        today = dt.datetime.now(dt.UTC).date()
        entries = self._targets[place].entries
        return expectations.apply(result, entries, today, case_run=case_run)

    def _not_tried(self, step: Step) -> Result:
        target = self._targets[step.place]
        rule, dtype, device = step.job
        facts = target.plan["rules"][rule]
        return Result(
            implementation=target.name,
            family=target.plan["described"]["family"],
            rule=rule,
            revision=facts["revision"],
            level=facts["level"],
            dtype=dtype,
            device=device,
            outcome="not_run",
            message=f"not tried: {PATIENCE} time-outs in a row",
        )

    def close(self) -> None:
        """End the workers; the servers are the caller's."""
        for runner in self._runners:
            with contextlib.suppress(Exception):  # it may be long gone
                runner.close()

    def _runner(self, wish: Wish, target: Any | None = None) -> Runner:
        runner: Runner
        if self._server is None:
            runner = _GuestRunner(wish, target)
        else:
            runner = IsolatedRunner(
                self._server,
                wish,
                timeout_s=self.options.timeout,
                memory_limit_mb=self.options.memory_limit,
            )
        name = self._names.get(wish.target, wish.target)
        if name != wish.target:
            runner = _Renamed(runner, wish.target, name)
        self._runners.append(runner)
        return runner


class _GuestRunner(LocalRunner):
    """Within this process, which is somebody else's: its settings are not touched.

    Neither may its warning filters (``-W error``) change what is found.
    """

    def load(self) -> Mapping[str, Any]:
        with _own_settings():
            return super().load()

    def smoke(self) -> Result | None:
        with _own_settings():
            return super().smoke()

    def probe(self) -> Mapping[str, str]:
        with _own_settings():
            return super().probe()

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
        with _own_settings():
            return super().run(job, pinned)


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Renamed:
    """A runner whose target is known by another name than the path that it was loaded by."""

    def __init__(self, runner: Runner, target: str, name: str) -> None:
        self._runner = runner
        self._target = target
        self._name = name

    def load(self) -> Mapping[str, Any]:
        plan = dict(self._runner.load())
        if plan["described"]["name"] == self._target:
            plan["described"] = {**plan["described"], "name": self._name}
        return plan

    def smoke(self) -> Result | None:
        result = self._runner.smoke()
        return None if result is None else self._renamed(result)

    def probe(self) -> Mapping[str, str]:
        return self._runner.probe()

    def assume(self, seen: Mapping[str, str]) -> None:
        self._runner.assume(seen)

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
        return self._renamed(self._runner.run(job, pinned))

    def close(self) -> None:
        self._runner.close()

    def _renamed(self, result: Result) -> Result:
        if result.implementation != self._target:
            return result
        return replace(result, implementation=self._name)


def _texts(targets: Sequence[Any]) -> bool:
    return all(isinstance(target, str) for target in targets)


def _anchored(target: Any, folder: Path | None) -> Any:
    """A target that is a path, so that it is found from any working directory."""
    if not isinstance(target, str) or folder is None:
        return target
    place, colon, attribute = target.rpartition(":")
    if not colon or not place.endswith(".py") or Path(place).is_file():
        return target
    return f"{folder / place}:{attribute}" if (folder / place).is_file() else target
