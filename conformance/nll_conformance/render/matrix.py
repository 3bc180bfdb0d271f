"""Several implementations at a glance: themes down, implementations across."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..causes import failing, themes
from ..model import BAD_OUTCOMES, LEVELS, Result
from ..report import Report
from .text import counted, ending

#: Columns of one block; more implementations start another.
ACROSS = 8
_CELL = 7
LEGEND = "+ all pass   ! failing/judged   x known failures   ? inconclusive   - not judged"


def cell(results: tuple[Result, ...]) -> str:
    """A symbol and a count for the results of one implementation under one theme."""
    outcomes = Counter(r.outcome for r in results)
    passed = outcomes["pass"] + outcomes["unexpected_pass"]
    known = outcomes["expected_failure"]
    failed = sum(outcomes[outcome] for outcome in BAD_OUTCOMES)
    if failed or outcomes["error"]:
        return f"!{failed + outcomes['error']}/{failed + outcomes['error'] + passed + known}"
    if known:
        return f"x{known}/{known + passed}"
    if passed:
        return f"+{passed}"
    return f"?{outcomes['inconclusive']}" if outcomes["inconclusive"] else "-"


def matrix(report: Report) -> Iterator[str]:
    """The lines: who is which column, then a block of themes for each few columns."""
    names = report.implementations
    width = max(len(ending(name, 40)) for name in names)
    for number, name in enumerate(names, 1):
        counts = Counter(r.outcome for r in report.of(name))
        must, should = (failing(report.of(name), level) for level in LEVELS)
        said = f"{report.verdict(name)}, {counts['pass']} pass"
        said += f", {must} fail" if must else ""
        said += f", {should} fail (should)" if should else ""
        said += f", {counts['expected_failure']} known" if counts["expected_failure"] else ""
        yield f"{number:3} {ending(name, 40).ljust(width)}  {said}"
    rows = themes(report.results)
    left = max((len(row) for row in rows), default=0) + 2
    for start in range(0, len(names), ACROSS):
        block = names[start : start + ACROSS]
        yield ""
        heads = "".join(str(start + i + 1).rjust(_CELL) for i in range(len(block)))
        yield " " * left + heads
        mine = [report.of(name) for name in block]
        for row in rows:
            cells = (
                cell(tuple(r for r in results if r.rule.partition(".")[0] == row))
                for results in mine
            )
            yield row.ljust(left) + "".join(text.rjust(_CELL) for text in cells)
    yield f"{LEGEND}"
    yield f"({counted(len(report.results), 'result')}: one for each rule, dtype and device)"
