"""The pytest plugin: the rules of nll-conformance as items of a test run.

``pytest --nll-impl TARGET`` adds an item for each rule and dtype; a test that is decorated
with ``nll_conformance.parametrize`` gets one call for each.  Everything beyond the options
lives in :mod:`nll_conformance.pytest_support` and is imported when one of the two is met, so
that a test run that has nothing to do with losses pays nothing for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nll_conformance.pytest_support import Judging

#: What stands where other node ids have a file: the items belong to no file.
PLACE = "nll"

#: Name, how argparse takes it, type of the ini twin, help.
_OPTIONS: tuple[tuple[str, dict[str, Any], Any, str], ...] = (
    (
        "impl",
        {"action": "append", "metavar": "TARGET"},
        "linelist",
        "judge this loss: a registered name, package.module:attr or path/file.py:attr; repeatable",
    ),
    ("family", {"metavar": "NAME"}, "string", "the loss family; else inferred"),
    ("supports", {"metavar": "A,B"}, "string", "capabilities the targets have as well"),
    ("lacks", {"metavar": "A,B"}, "string", "capabilities the targets do not have"),
    (
        "declare",
        {"action": "append", "metavar": "KEY=VALUE"},
        "linelist",
        "a declaration; repeatable",
    ),
    ("dtype", {"metavar": "LIST"}, "string", "dtypes; default all declared (quick: two)"),
    ("device", {"metavar": "LIST"}, "string", "devices; default cpu"),
    (
        "profile",
        {"metavar": "NAME"},
        "string",
        "quick, standard or thorough: how many cases; default standard",
    ),
    (
        "rules",
        {"action": "append", "metavar": "GLOB"},
        "linelist",
        "only the rules that match; repeatable",
    ),
    ("random", {"action": "store_true"}, "bool", "explore with a new seed each time"),
    ("seed", {"metavar": "N"}, "string", "seed of the cases; default 0"),
    (
        "timeout",
        {"metavar": "SECONDS"},
        "string",
        "limit for each rule and dtype; default 30",
    ),
    ("memory-limit", {"metavar": "MB"}, "string", "limit for each worker process"),
    (
        "no-isolation",
        {"action": "store_true"},
        "bool",
        "judge within the process of pytest: a crash of the loss ends the run",
    ),
    ("expected", {"metavar": "FILE"}, "string", "known failures, which become xfail"),
    (
        "strict",
        {"action": "store_true"},
        "bool",
        "failures of should-rules and stale expected failures fail, too",
    ),
    ("json", {"metavar": "FILE"}, "string", "write the results, JSON Lines"),
    (
        "write-expected",
        {"metavar": "FILE"},
        "string",
        "add what failed to a file of known failures",
    ),
)
_PATHS = ("expected", "json", "write-expected")


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option and one ini twin each."""
    group = parser.getgroup("nll-conformance", "conformance of negative-log-likelihood losses")
    for name, how, kind, text in _OPTIONS:
        key = _key(name)
        group.addoption(f"--nll-{name}", dest=key, help=f"{text} (ini: {key})", **how)
        parser.addini(key, f"the same as --nll-{name}", type=kind)


def pytest_configure(config: pytest.Config) -> None:
    """Watch for work; start on it at once where targets are named."""
    config.addinivalue_line(
        "markers",
        "nll: judged by a rule of nll-conformance (set by --nll-impl and "
        "nll_conformance.parametrize).",
    )
    settings = Settings(config)
    config.pluginmanager.register(Watch(config, settings), "nll_conformance_watch")


def _key(name: str) -> str:
    return f"nll_{name.replace('-', '_')}"


class Settings:
    """The options of the command line, completed by the ini file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seed: int | None = None
        named = self._take_arguments()
        on_command_line = bool(config.getoption("nll_impl"))
        with_paths = config.args_source is pytest.Config.ArgsSource.ARGS
        #: Targets of the ini file stay out of a run that was asked for something else.
        active = on_command_line or named is not None or not with_paths
        self.targets: tuple[str, ...] = tuple(self.get("impl") or ()) if active else ()
        #: Names of the items to keep; None keeps all.
        self.only = named or None

    def get(self, name: str) -> Any:
        """The value of an option; None where neither place says anything."""
        key = _key(name)
        given = self._config.getoption(key)
        if given not in (None, False, []):
            return given
        written = self._config.getini(key)
        if name in _PATHS and written:
            return str(self.folder / written)
        return written or None

    @property
    def folder(self) -> Path:
        """What paths in the ini file are relative to."""
        return (self._config.inipath or self._config.rootpath / "ini").parent

    @property
    def random_seed(self) -> int:
        """One for the whole run: workers of xdist must collect and draw the same."""
        shared = getattr(self._config, "workerinput", {}).get("nll_seed")
        if shared is not None:
            return int(shared)
        if self._seed is None:
            self._seed = int.from_bytes(os.urandom(4), "big")
        return self._seed

    def _take_arguments(self) -> list[str] | None:
        """Node ids of ours among the arguments, which name no file; None if there are none."""
        if (self._config.invocation_params.dir / PLACE).exists():
            return None
        args = self._config.args
        ours = [arg for arg in args if arg == PLACE or arg.startswith(f"{PLACE}::")]
        if not ours:
            return None
        args[:] = [arg for arg in args if arg not in ours]
        names = [arg.partition("::")[2] for arg in ours]
        return names if all(names) else []


class Watch:
    """Hooks that every test run has; they cost next to nothing until there is work."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._judging: Judging | None = None
        if settings.targets:
            self.activate()

    def activate(self) -> Judging:
        """The plugin that does the work, registered when it is first needed."""
        if self._judging is None:
            from nll_conformance.pytest_support import Judging

            self._judging = Judging(self._config, self._settings)
            self._config.pluginmanager.register(self._judging, "nll_conformance_judging")
        return self._judging

    def pytest_report_header(self) -> str | None:
        """What is judged, and how."""
        return self._judging.header_line() if self._judging is not None else None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """The calls of a test decorated with ``nll_conformance.parametrize``."""
        for mark in metafunc.definition.iter_markers(PLACE):
            if "loss" in mark.kwargs:
                self.activate().generate(metafunc, **mark.kwargs)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather results, which under xdist come from another process."""
        payload = report.__dict__.get("nll_conformance")
        if payload is not None:
            self.activate().gather(payload)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker of xdist is about to start."""
        node.workerinput["nll_seed"] = self._settings.random_seed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of xdist has ended; it may have found a usage error."""
        usage = getattr(node, "workeroutput", {}).get("nll_usage")
        if usage is not None:
            self.activate().usage = usage
