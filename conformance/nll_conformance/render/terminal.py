"""The terminal: what is going on while a run lasts, and the summary at its end.

Colours and the live display appear only on a terminal; rich also heeds NO_COLOR.  The
display is refreshed by events and not by a thread, because rules count threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Self

from ..model import BAD_OUTCOMES, Result
from ..report import Report, RuleFacts
from .summary import FULL_CAUSES, summary
from .text import ending

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

#: A run shorter than this shows no progress.
PATIENCE_SECONDS = 0.7
STYLES = {
    "title": "bold",
    "bad": "bold red",
    "good": "bold green",
    "warn": "yellow",
    "label": "",
    "code": "cyan",
    "plain": "",
}


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False, markup=False, soft_wrap=True)


def show(
    report: Report,
    rules: Mapping[str, RuleFacts],
    *,
    path: str | None = None,
    stream: IO[str] | None = None,
    full: int = FULL_CAUSES,
) -> None:
    """Print the summary to ``stream`` (standard output), coloured where that is a terminal."""
    from rich.text import Text

    console = _console(stream or sys.stdout)
    for style, text in summary(report, rules, path=path, full=full):
        shown = _encodable(text, console.encoding)
        console.print(Text(shown, style=STYLES[style], end=""), soft_wrap=True)


def _encodable(text: str, encoding: str) -> str:
    """A terminal that cannot show a character gets its escape instead of a crash of ours."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


class Progress:
    """A line that says what is being judged; a context manager, silent in pipes.

    Feed it :meth:`started` and :meth:`finished`; with several jobs in any order.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._began = time.monotonic()
        self._silent = not self._stream.isatty()
        self._bar: Bar | None = None
        self._done = 0
        self._failed = 0

    def started(self, implementation: str, rule: str, dtype: str, index: int, total: int) -> None:
        """Rule number ``index`` (from 0) of ``total`` begins."""
        if self._silent:
            return
        if self._bar is None and time.monotonic() - self._began >= PATIENCE_SECONDS:
            self._bar = self._start()
        if self._bar is not None:
            failing = f", {self._failed} failing" if self._failed else ""
            what = f"{ending(implementation, 30)} {rule} {dtype}{failing}"
            done = max(self._done, 0 if self._done else index)
            self._bar.update(self._bar.task_ids[0], total=total, completed=done, description=what)
            self._bar.refresh()

    def finished(self, result: Result) -> None:
        """A result is known."""
        self._done += 1
        self._failed += result.outcome in BAD_OUTCOMES
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)
            self._bar.refresh()

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._silent = True

    def _start(self) -> Bar:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            MofNCompleteColumn(),
            BarColumn(20),
            TextColumn("{task.description}", markup=False),
            console=_console(self._stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bar.add_task("", total=None)
        bar.start()
        return bar

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
