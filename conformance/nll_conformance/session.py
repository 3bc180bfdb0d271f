"""A run from options to report: load, smoke test, probe, then every rule, in parallel."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import platform
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from . import expected as expectations
from . import results as files
from .discover import registered
from .errors import UsageError, unknown
from .isolation import ForkServer
from .loaded import Loaded
from .model import BAD_OUTCOMES, SPEC_VERSION, Result
from .options import Options, options_of
from .provenance import commit, database, now
from .report import SCHEMA, Report, RuleFacts
from .runner import PRELOAD, IsolatedRunner, Job, LocalRunner, Runner
from .wish import Wish


class Listener(Protocol):
    """Told of the progress of a run."""

    def started(self, implementation: str, rule: str, dtype: str, index: int, total: int) -> None:
        """A rule begins."""

    def finished(self, result: Result) -> None:
        """A rule has a result."""


class _Silence:
    def started(self, *_: Any) -> None: ...
    def finished(self, _: Result) -> None: ...


class Session:
    """One run; :meth:`run` does it, :attr:`report` holds what is known at any moment.

    For those who schedule the jobs themselves there are :meth:`prepare` and
    :meth:`~.loaded.Loaded.judge` of its :attr:`targets`.  A ``server`` that is given stays
    the caller's to close.
    """

    def __init__(
        self,
        targets: Sequence[str | Any],
        options: Options,
        listener: Listener | None = None,
        server: ForkServer | None = None,
    ) -> None:
        options.validate()
        self.options = options
        self.rules: dict[str, RuleFacts] = {}
        self.targets: list[Loaded] = []
        #: What a glob over names matched and is not installed.
        self.left_out: list[str] = []
        #: The runners that loaded the targets come first, in their order.
        self.runners: list[Runner] = []
        self.header: dict[str, Any] = {}
        self._listener = listener or _Silence()
        self._given = list(targets)
        self._server, self._own_server = server, server is None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._results: list[tuple[tuple[int, int], Result]] = []
        self._footer: dict[str, Any] | None = None
        self._writer: files.Writer | None = None
        self._failure: BaseException | None = None
        self._started = time.monotonic()
        self._seed = _seed(options)

    @property
    def report(self) -> Report:
        """Header and results so far, in the order of the plan."""
        with self._lock:
            ordered = [result for _, result in sorted(self._results, key=lambda item: item[0])]
        return Report(self.header, tuple(ordered), self._footer)

    def run(self) -> Report:
        """Judge everything; Ctrl-C ends the run with what was judged.

        Raises UsageError for anything the caller gave wrong, before results are written.
        """
        if self.options.json is not None:
            files.ensure_writable(self.options.json)
        earlier = None if self.options.resume is None else files.read(self.options.resume)
        interrupted = False
        try:
            self.prepare()
            self._open_file(earlier)
            self._judge_all()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure
        if not self.header:
            raise KeyboardInterrupt
        self._finish(interrupted)
        return self.report

    def prepare(self) -> None:
        """Load, smoke-test and probe the targets, and write the header.  Raises UsageError."""
        isolated = self.options.isolation and all(isinstance(t, str) for t in self._given)
        if not isolated:
            self._server = None
        elif self._server is None:
            self._server = ForkServer(preload=PRELOAD)
            self._server.start()
        entries: tuple[expectations.Entry, ...] = ()
        for given in self._expanded():
            named = isinstance(given, str)
            wish = self._wish(given if named else _name_of(given))
            target = Loaded.by(self._runner(wish, None if named else given), wish)
            self.targets.append(target)
            self.rules.update(target.facts)
            if len(self.targets) == 1 and self.options.expected is not None:
                entries = expectations.load(self.options.expected, rules=self.rules)
            target.entries += entries
        names = [target.name for target in self.targets]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two targets are called {name!r}; give each one once.")
        if self.options.rules and not any(target.plan["jobs"] for target in self.targets):
            raise UsageError(
                f"--rules {', '.join(self.options.rules)}: none of them is a rule of these "
                "families in this profile; see `nll-conformance list rules`."
            )
        self.header = self._make_header()

    def _expanded(self) -> list[str | Any]:
        """Globs over registered names (``torch_*``) replaced by what they match.

        What is not installed is left out of them, as far as its ``load`` can tell by
        ``missing()`` without importing anything; by its own name it is refused.
        """
        found: list[str | Any] = []
        for target in self._given:
            if not isinstance(target, str) or "*" not in target:
                found.append(target)
                continue
            names = fnmatch.filter(registered(), target)
            if not names:
                raise unknown("implementation", target, registered())
            absent = [name for name in names if _missing(name)]
            if absent == names:
                packages = sorted({str(_missing(name)) for name in names})
                raise UsageError(
                    f"nothing that {target!r} matches is installed: {', '.join(names)} "
                    f"({'; '.join(packages)} missing)."
                )
            self.left_out += absent
            found += [name for name in names if name not in absent]
        return found

    def _open_file(self, earlier: Report | None) -> None:
        if earlier is not None:
            self._take_over(earlier)
        elif self.options.json is not None:
            self._writer = files.create(self.options.json, self.header)
        for place, target in enumerate(self.targets):
            if target.fatal is not None:
                self._keep(target.excused(target.fatal, case_run=False), (place, -1))

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
            fail_fast=options.fail_fast,
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
                load_timeout_s=self.options.load_timeout,
                memory_limit_mb=self.options.memory_limit,
            )
        self.runners.append(runner)
        return runner

    # --- judging -------------------------------------------------------------------------

    def _judge_all(self) -> None:
        """Share the jobs among threads, one runner each."""
        self._total = sum(len(target.left) for target in self.targets)
        first: list[Runner | None] = list(self.runners)  # those that loaded the targets
        if self._server is None:
            for number in range(len(self.targets)):
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
        count = len(self.targets)
        for place in [*range(number % count, count), *range(number % count)]:
            target = self.targets[place]
            runner: Runner | None = None
            while (job := self._next(target)) is not None:
                runner = runner or self._take_runner(place, first)
                self._listener.started(target.name, job[0], job[1], 0, self._total)
                result = target.judge(job, runner)
                self._keep(result, (place, target.order[job]))
                bad = result.outcome in BAD_OUTCOMES and result.level == "must"
                if self.options.fail_fast and bad:
                    self._stop.set()
            if runner is not None:
                runner.close()

    def _take_runner(self, place: int, first: list[Runner | None]) -> Runner:
        with self._lock:
            loaded, first[place] = first[place], None
        if loaded is not None:
            return loaded
        target = self.targets[place]
        runner = self._runner(target.wish)
        assert isinstance(runner, IsolatedRunner), "within this process there is one of each"
        runner.join(target.plan, target.seen)
        return runner

    def _next(self, target: Loaded) -> Job | None:
        with self._lock:
            if self._stop.is_set() or not target.left:
                return None
            return target.left.popleft()

    def _keep(self, result: Result, order: tuple[int, int]) -> None:
        with self._lock:
            keep = self._writer.add if self._writer is not None else files.tame
            result = keep(result)
            self._results.append((order, result))
            self._listener.finished(result)

    # --- beginning and end ---------------------------------------------------------------

    def _make_header(self) -> dict[str, Any]:
        described = [target.plan["described"] for target in self.targets]
        environment = self.targets[0].plan["environment"] if self.targets else {}
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
            "options": self.options.asked(),
            "isolation": self._server is not None,
            "started_at": now(),
        }

    def _take_over(self, earlier: Report) -> None:
        """Continue the results file: what has a result there is not judged again."""
        path = self.options.resume
        assert path is not None
        for key in ("seed", "profile", "spec_version", "mode", "rules"):
            if earlier.header[key] != self.header[key]:
                raise UsageError(
                    f"cannot resume {path}: its {key} is {earlier.header[key]!r}, this run's "
                    f"{self.header[key]!r}."
                )
        known = {d["name"] for d in earlier.header["implementations"]}
        if known != {target.name for target in self.targets}:
            raise UsageError(f"cannot resume {path}: it is about {', '.join(sorted(known))}.")
        earlier, self._writer = files.resume(path)
        self.header = dict(earlier.header)
        done = {r.key: r for r in earlier.results if r.outcome != "not_run"}
        for place, target in enumerate(self.targets):
            if target.fatal is not None and target.fatal.key in done:
                self._results.append(((place, -1), done[target.fatal.key]))
                target.fatal = None
            for job in [job for job in target.left if (target.name, *job) in done]:
                target.left.remove(job)
                self._results.append(((place, target.order[job]), done[(target.name, *job)]))

    def _end(self) -> None:
        self._stop.set()
        self.close()
        if self._server is not None and self._own_server:
            self._server.close()

    def close(self) -> None:
        """End the workers, whatever they do."""
        for runner in self.runners:
            with contextlib.suppress(Exception):  # it may be long gone
                if isinstance(runner, IsolatedRunner):
                    runner.kill()
                runner.close()

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
    return Session([loss], options_of(options)).run()


def _seed(options: Options) -> int:
    if options.seed is not None:
        return options.seed
    return int.from_bytes(os.urandom(4), "big") if options.random else 0


def _missing(name: str) -> str | None:
    """The package that a registered implementation lacks, where it says so."""
    ask = getattr(registered()[name].load, "missing", None)
    return ask() if ask is not None else None


def _name_of(loss: Any) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    inner = getattr(loss, "func", None)  # functools.partial
    return str(name or (inner and _name_of(inner)) or type(loss).__name__)
