"""What the pytest plugin does once there is work: items, verdicts, and the end of the run.

How an outcome is told, in the words of pytest:

    pass                        passed
    fail, crash, timeout        failed; of a should-rule xfailed, failed where strict
    expected_failure            xfailed, with reason and link
    unexpected_pass             xpassed, failed where strict
    unsupported, inconclusive   skipped, with the reason (strict or not, as in ``check``)
    not_run                     skipped, with the reason
    error                       failed: the suite itself is wrong
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from .errors import UsageError, unknown
from .model import BAD_OUTCOMES, SPEC_VERSION, Result
from .options import options_of
from .pytest_report import PLACE, Gathered, failure_text
from .render.text import one_line
from .results import plain
from .stepwise import NOT_HERE, Servers, Step, StepwiseRun

#: Options of the command line that a decorated test takes over where it leaves them open;
#: the others speak of the targets that are named there.
_SHARED = (
    "dtype",
    "device",
    "profile",
    "rules",
    "random",
    "seed",
    "timeout",
    "memory_limit",
    "isolation",
    "expected",
    "strict",
)
_PROPERTIES = ("implementation", "family", "rule", "dtype", "device", "level", "outcome")
F = TypeVar("F", bound=Callable[..., Any])


def parametrize(loss: str | Any, **options: Any) -> Callable[[F], F]:
    """Call a test once for each rule and dtype, with a ``rule`` to ``check()``.

        @nll_conformance.parametrize("mypackage.losses:fused_ce", profile="quick")
        def test_loss(rule):
            rule.check()

    ``loss`` is a TARGET of the command line, judged in a worker process that may crash, or a
    callable, judged within this one.  ``options`` are those of ``check``; what they leave
    open comes from the command line (``--nll-profile``, ...), then from the ini file.  Paths
    are looked for beside the test file where the working directory does not have them.
    """
    mark = pytest.mark.nll.with_args(loss=loss, options=options)

    def decorate(test: F) -> F:
        marked: F = mark(test)
        return marked

    return decorate


class RuleCheck:
    """One rule for one dtype and device, to be checked by a test."""

    def __init__(self, run: StepwiseRun, origin: str, step: Step) -> None:
        self._run = run
        self._step = step
        self.origin = origin
        self.rule, self.dtype, self.device = step.job
        self.implementation = one_line(run.name_of(step), 200)
        self.level = run.level_of(step)
        self.id = f"{self.rule}-{self.dtype}"
        if self.device != "cpu":
            self.id += f"-{self.device}"
        #: The result of the last check, until its report was made.
        self.result: Result | None = None

    def __repr__(self) -> str:
        return f"<rule {self.id} of {self.implementation}>"

    @property
    def run(self) -> StepwiseRun:
        """The run that it is part of."""
        return self._run

    @property
    def sentence(self) -> str:
        """What the rule demands."""
        return self._run.rules[self.rule].sentence

    def check(self) -> None:
        """Judge, and end the test as the outcome demands."""
        __tracebackhide__ = True
        try:
            self.result = self._run.judge(self._step)
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        verdict(self.result, self._run)


def verdict(result: Result, run: StepwiseRun) -> None:
    """Pass, skip, xfail or fail; the table at the head of this module."""
    __tracebackhide__ = True
    strict = run.options.strict
    known = one_line(f"{result.reason} ({result.link})" if result.link else result.reason, 500)
    if result.outcome == "expected_failure":
        pytest.xfail(known)  # which returns under --runxfail
    elif result.outcome in BAD_OUTCOMES and result.level == "should" and not strict:
        pytest.xfail(f"should: {one_line(result.message, 400)}")
    elif result.outcome == "unexpected_pass" and strict:
        pytest.fail(f"stale expected failure: {result.rule} passes now; {known}", pytrace=False)
    elif result.outcome in ("unsupported", "inconclusive", "not_run"):
        pytest.skip(f"{result.outcome}: {one_line(result.reason or result.message, 400)}")
    if result.outcome not in ("pass", "unexpected_pass"):
        pytest.fail(failure_text(result, run.header, run.rules), pytrace=False)


class RuleItem(pytest.Item):
    """A rule as an item of its own, of no file."""

    def __init__(self, *, check: RuleCheck, **given: Any) -> None:
        super().__init__(**given)
        self.check = check
        self.add_marker(PLACE)
        self.extra_keyword_matches.update({check.implementation, check.level})

    def runtest(self) -> None:
        __tracebackhide__ = True
        self.check.check()

    def reportinfo(self) -> tuple[Path, int | None, str]:
        # Not the name alone: pytest would take its dot for one between class and method.
        return self.path, None, f"{PLACE} {self.name}"


class Rules(pytest.Collector):
    """Where the items of ``--nll-impl`` hang: a node without a file."""

    def __init__(self, *, checks: Mapping[str, RuleCheck], **given: Any) -> None:
        super().__init__(**given)
        self._checks = checks

    def collect(self) -> Iterator[pytest.Item]:
        for name, check in self._checks.items():
            item: pytest.Item = RuleItem.from_parent(self, name=name, check=check)
            yield item


class Judging:
    """The plugin with work to do; one for each process of a test run."""

    def __init__(self, config: pytest.Config, settings: Any) -> None:
        self._config = config
        self._settings = settings
        self._is_worker = hasattr(config, "workerinput")
        self._servers = Servers()
        self._runs: list[StepwiseRun] = []
        self._sent: set[str] = set()
        self._gathered = Gathered()
        self._collected = False
        #: The sentence of a usage error that a worker of xdist met.
        self.usage: str | None = None
        if not self._is_worker:
            with _usage():
                self._gathered.promise(settings.get("json"), settings.get("write-expected"))

    # --- what is asked for ---------------------------------------------------------------

    def header_line(self) -> str:
        """What is judged and how, before anything is loaded."""
        from . import __version__

        with _usage():
            options = options_of(self._options(), NOT_HERE)
        dtypes = ", ".join(options.dtype) or (
            "float32, bfloat16" if options.profile == "quick" else "all declared"
        )
        random = "random " if options.random else ""
        suite = f"nll-conformance {__version__}, spec {SPEC_VERSION}"
        parts = (
            f"{suite}: {', '.join(self._settings.targets)}",
            f"dtypes {dtypes}",
            ", ".join(options.device),
            f"profile {options.profile}",
            f"{random}seed {options.seed or 0}",
        )
        return "; ".join(parts)

    def _options(self) -> dict[str, Any]:
        """The options that were given, as keywords of ``Options``."""
        get = self._settings.get
        given = {
            name: get(name)
            for name in ("family", "supports", "lacks", "dtype", "device", "profile")
        }
        given |= {"random": get("random"), "expected": get("expected"), "strict": get("strict")}
        given |= {"rules": get("rules"), "isolation": False if get("no-isolation") else None}
        given["seed"] = _number("seed", get("seed"), int)
        given["timeout"] = _number("timeout", get("timeout"), float)
        given["memory_limit"] = _number("memory-limit", get("memory-limit"), int)
        given["declare"] = _pairs(get("declare") or ())
        if given["random"] and given["seed"] is None:
            given["seed"] = self._settings.random_seed
        return {name: value for name, value in given.items() if value not in (None, {})}

    def _open(
        self, targets: list[Any], options: Mapping[str, Any], origin: str, folder: Path
    ) -> list[RuleCheck]:
        run = StepwiseRun(targets, options_of(options, NOT_HERE), self._servers, folder)
        self._runs.append(run)
        return [RuleCheck(run, origin, step) for step in run.open()]

    # --- collection ----------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the rules to what the session collects."""
        node: Rules | None = None
        if isinstance(collector, pytest.Session) and self._settings.targets:
            node = self._rules(collector)
        report = yield
        if node is not None and report.passed:
            report.result = [*report.result, node]
        return report

    def _rules(self, session: pytest.Session) -> Rules | None:
        targets = list(self._settings.targets)
        try:
            checks = self._open(targets, self._options(), PLACE, self._settings.folder)
            several = len(targets) > 1
            named = {f"{c.id}-{c.implementation}" if several else c.id: c for c in checks}
            for name in self._settings.only or ():
                if name not in named:
                    raise unknown("item", f"{PLACE}::{name}", (f"{PLACE}::{n}" for n in named))
        except UsageError as error:
            if not self._is_worker:
                raise pytest.UsageError(str(error)) from None
            # An exception here would look like a crash of the worker; the controller says it.
            self.usage = str(error)
            self._config.workeroutput["nll_usage"] = self.usage  # type: ignore[attr-defined]
            return None
        if self._settings.only:
            named = {name: named[name] for name in self._settings.only}
        path = self._config.rootpath / PLACE
        node: Rules = Rules.from_parent(session, name=PLACE, path=path, nodeid=PLACE, checks=named)
        return node

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A wrong option ends the run before anything else runs."""
        if self.usage is not None:
            items.clear()

    def generate(
        self, metafunc: pytest.Metafunc, loss: str | Any, options: Mapping[str, Any]
    ) -> None:
        """The calls of one decorated test."""
        origin = metafunc.definition.nodeid
        folder = metafunc.definition.path.parent
        try:
            shared = {k: v for k, v in self._options().items() if k in _SHARED}
            merged = {**shared, **options}
            if merged.get("random") and merged.get("seed") is None:
                merged["seed"] = self._settings.random_seed
            expected = options.get("expected")
            if expected is not None and not Path(expected).is_file():
                merged["expected"] = folder / expected
            checks = self._open([loss], merged, origin, folder)
        except UsageError as error:
            raise pytest.Collector.CollectError(str(error)) from None
        metafunc.parametrize("rule", checks, ids=[check.id for check in checks])

    # --- reports -------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the result on the report: xdist carries that to the controller."""
        check = _check_of(item) if call.when == "call" else None
        result = check.result if check is not None else None
        if result is not None:
            item.user_properties += [(key, str(getattr(result, key))) for key in _PROPERTIES]
        report = yield
        if check is None or result is None:
            return report
        check.result = None
        report.__dict__["nll_conformance"] = self._payload(check, result)
        if isinstance(item, RuleItem) and report.skipped and isinstance(report.longrepr, tuple):
            # The line of this module that skipped says nothing to anybody.
            report.longrepr = (PLACE, 1, report.longrepr[2])
        stale = result.outcome == "unexpected_pass" and report.passed
        if stale and not self._config.option.runxfail:
            report.wasxfail = f"passes now: {result.reason}"
        return report

    def _payload(self, check: RuleCheck, result: Result) -> str:
        """What the end of the run needs; the facts of a run travel once for each process.

        As JSON text: xdist refuses a subclass of str, such as torch's version, by crashing.
        """
        payload: dict[str, Any] = {"run": check.origin, "result": plain(result.to_json())}
        if check.origin not in self._sent:
            self._sent.add(check.origin)
            payload["strict"] = check.run.options.strict
            payload["header"] = plain(check.run.header)
            payload["planned"] = check.run.planned
            payload["facts"] = {
                rule: [facts.sentence, facts.source, list(facts.needs), facts.refusal_passes]
                for rule, facts in check.run.rules.items()
            }
        return json.dumps(payload)

    def gather(self, payload: str) -> None:
        """Keep the result of one report."""
        if not self._is_worker:
            self._gathered.add(json.loads(payload))

    # --- the end -------------------------------------------------------------------------

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write what was asked for."""
        if self._is_worker:
            return
        if self.usage is not None:
            raise pytest.UsageError(self.usage)
        stopped = exitstatus == pytest.ExitCode.INTERRUPTED or bool(
            session.shouldstop or session.shouldfail
        )
        with _usage():
            self._gathered.finish(interrupted=stopped)
        if exitstatus == pytest.ExitCode.OK and self._gathered.nothing_judged:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The matrix, the causes, what was not judged, and the verdict."""
        for style, line in self._gathered.lines():
            if style == "section":
                terminalreporter.section(line)
            else:
                colours = {"bad": {"red": True}, "good": {"green": True}, "warn": {"yellow": True}}
                terminalreporter.write_line(line, **colours.get(style, {}))

    def pytest_unconfigure(self) -> None:
        """Leave no process behind."""
        for run in self._runs:
            run.close()
        self._servers.close()


def _check_of(item: pytest.Item) -> RuleCheck | None:
    if isinstance(item, RuleItem):
        return item.check
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("rule") if callspec is not None else None
    return found if isinstance(found, RuleCheck) else None


class _usage:  # noqa: N801 - a context manager, used like a function
    """A usage error of the suite is one of pytest: a sentence, exit 4, no traceback."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, UsageError):
            raise pytest.UsageError(str(error)) from None


def _number(name: str, text: str | None, kind: type[int | float]) -> float | None:
    if text is None:
        return None
    try:
        number = kind(text)
    except ValueError:
        raise UsageError(f"--nll-{name} {text!r} is not a number.") from None
    if name != "seed" and number <= 0:
        raise UsageError(f"--nll-{name} {text} is not a positive number.")
    return number


def _pairs(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--nll-declare {text!r} is not KEY=VALUE.")
        found[key] = value
    return found
