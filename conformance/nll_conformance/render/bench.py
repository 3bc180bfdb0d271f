"""The table of a benchmark, for a terminal or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..bench.gate import Comparison
from ..bench.lines import BAD_OUTCOMES, Key, Line
from .text import one_line

#: Column, and the width that a terminal must have for it to be shown.
COLUMNS = {
    "implementation": 0,
    "time, ms": 0,
    "95 % interval": 110,
    "x copy": 0,
    "interval": 0,
    "x torch": 0,
    "added memory": 0,
    "GB/s": 110,
    "error/bound": 95,
}
PIPE_WIDTH = 140
NAME_WIDTH = 36


def show(lines: Iterable[Line], stream: IO[str] | None = None) -> None:
    """Print a table for each shape, dtype, device and pass, and what limits its numbers."""
    stream = stream or sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    console = Console(
        file=stream, highlight=False, emoji=False, markup=False, width=width, soft_wrap=False
    )
    for key, group in groupby(lines, key=lambda line: line.key):
        _group(console, key, list(group))


def _group(console: Console, key: Key, lines: Sequence[Line]) -> None:
    table = Table(title=_title(key), title_justify="left", title_style="bold", box=None)
    shown = [name for name, least in COLUMNS.items() if console.width >= least]
    for name in shown:
        table.add_column(
            name, justify="left" if name == "implementation" else "right", no_wrap=True
        )
    timed = [line for line in lines if line.outcome == "timed"]
    for line in sorted(timed, key=lambda line: line.time_ms or 0.0):
        cells = dict(zip(COLUMNS, _cells(line), strict=True))
        table.add_row(*(cells[name] for name in shown))
    if timed:
        console.print(table)
    else:
        console.print(Text(_title(key), style="bold"))
    for line in lines:
        if line.outcome != "timed":
            style = "bold red" if line.outcome in BAD_OUTCOMES else "yellow"
            text = f"{one_line(line.implementation, 100)}: {line.outcome}: {line.message}"
            console.print(Text(one_line(text, 400), style=style), soft_wrap=True)
    for limit, names in _limits(timed).items():
        whose = "" if len(names) == len(timed) else f" ({', '.join(map(_name, names))})"
        console.print(Text(f"  {limit}{whose}", style="dim"), soft_wrap=True)
    console.print()


def comparison(target: str, key: Key, found: Comparison, limit: float) -> str:
    """One line: the verdict, the numbers behind it, memory where it grew."""
    ratio = found.ratio
    interval = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
    word = "SLOWER" if found.verdict == "slower" else found.verdict
    text = (
        f"{word}: {_name(target)}, {_title(key)}: {ratio.value:.3f} x the old time{interval}, "
        f"limit {1 + limit:.2f}, {found.rounds} rounds, "
        f"{_number(found.old_ms)} ms of the processor then, {_number(found.new_ms)} now"
    )
    if found.larger:
        text += f"; MORE MEMORY: {found.old_bytes} bytes added then, {found.new_bytes} now"
    return text


def _title(key: Key) -> str:
    what = {"both": "forward + backward"}.get(key.phase, key.phase)
    return f"{key.family} {key.shape} {key.dtype} {key.device}, {what}"


def _cells(line: Line) -> tuple[str, ...]:
    return (
        _name(line.implementation),
        _number(line.time_ms),
        _interval(line.time_ms_low, line.time_ms_high),
        _number(line.ratio_to_copy),
        _interval(line.ratio_to_copy_low, line.ratio_to_copy_high),
        _number(line.ratio_to_torch),
        "" if line.added_bytes_ratio is None else f"{line.added_bytes_ratio:.2f} x",
        _number(line.gb_per_s),
        _number(line.error_over_bound),
    )


def _name(name: str) -> str:
    """The end of a long one, which is the part that tells targets apart."""
    shown = one_line(name, 200)
    return shown if len(shown) <= NAME_WIDTH else f"...{shown[3 - NAME_WIDTH :]}"


def _number(value: float | None) -> str:
    """Three significant digits, without an exponent where that is short."""
    if value is None:
        return ""
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    digits = max(0, 2 - (len(str(int(abs(value)))) - 1)) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _limits(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Each sentence once, with the implementations that it is about."""
    found: dict[str, list[str]] = {}
    for line in lines:
        for limit in line.limits:
            found.setdefault(limit, []).append(line.implementation)
    return found
