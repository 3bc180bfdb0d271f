"""A run whose jobs somebody else schedules: opened, judged job by job, closed.

Test runners order, select, repeat and distribute; the session's own loop is not for them.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import results as files
from .isolation import ForkServer
from .model import Result
from .options import Options
from .runner import PRELOAD, IsolatedRunner, Job, LocalRunner, Runner
from .session import Session

if TYPE_CHECKING:
    from .wish import Wish

#: Options of a session that make no sense where somebody else schedules.
NOT_HERE = ("jobs", "fail_fast", "json", "resume")


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
        self.prepare()
        return tuple(self._steps())

    def _steps(self) -> Iterator[Step]:
        for place, target in enumerate(self.targets):
            if target.fatal is not None:  # the smoke test took its process along
                known = target.excused(target.fatal, case_run=False)
                yield Step(place, (known.rule, known.dtype, known.device), known)
            for job in target.left:
                yield Step(place, job)
            target.left.clear()

    @property
    def planned(self) -> list[str]:
        """The rules that there are jobs for."""
        jobs = (job for target in self.targets for job in target.plan["jobs"])
        return list(dict.fromkeys(job[0] for job in jobs))

    def name_of(self, step: Step) -> str:
        """The implementation that the step is about."""
        return self.targets[step.place].name

    def level_of(self, step: Step) -> str:
        """``must`` or ``should``."""
        return str(self.targets[step.place].plan["rules"][step.job[0]]["level"])

    def judge(self, step: Step) -> Result:
        """The result of one job, in the light of the expected failures."""
        if step.known is not None:
            return files.tame(step.known)
        result = self.targets[step.place].judge(step.job, self.runners[step.place])
        return files.tame(result)

    def _runner(self, wish: Wish, target: Any | None = None) -> Runner:
        runner: Runner
        if self._server is None:
            runner = _GuestRunner(wish, target)
        else:
            runner = IsolatedRunner(
                self._server,
                wish,
                timeout_s=self.options.timeout,
                load_timeout_s=self.options.load_timeout,
                memory_limit_mb=self.options.memory_limit,
            )
        name = self._names.get(wish.target, wish.target)
        if name != wish.target:
            runner = _Renamed(runner, wish.target, name)
        self.runners.append(runner)
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
