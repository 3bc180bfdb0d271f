"""History: runs, verdicts gained and lost, series of measurements and where they shift."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from ..analysis import Analysis
from ..changes import Change
from ..frames import Frames, rows_of
from ..regressions import SERIES, Shift
from . import Numbered, short

_RUN = (
    "kind", "complete", "started_at", "subject_commit", "suite_version", "spec_version",
    "machine", "profile", "rules", "torch",
)  # fmt: skip
_COUNTS = ("passed", "failed", "failed_should", "known", "unjudged")
#: Changes of one run that are told one by one; the rest is counted.
TOLD = 100


def payload(found: Analysis) -> dict[str, Any]:
    """Runs, oldest first, with their counts; changes, series, shifts, detection."""
    runs = found.runs
    numbers = Numbered(runs)
    texts: Numbered[str] = Numbered()
    moved = _by_run(found.changes)
    return {
        "runs": [
            {
                **{key: run[key] for key in _RUN if run[key] not in (None, "")},
                "lost": sum(c.direction == "lost" for c in moved[run_id]),
                "gained": sum(c.direction == "gained" for c in moved[run_id]),
                "changed": len(moved[run_id]),
            }
            for run_id, run in runs.items()
        ],
        "counts": _counts(found.frames, numbers, texts),
        "changes": [
            _change(change, numbers, texts) for run_id in runs for change in moved[run_id][:TOLD]
        ],
        "series": [
            [
                [texts(part) for part in key],
                texts(metric),
                [[numbers(p.run_id), short(p.value), _end(p.low), _end(p.high)] for p in points],
            ]
            for key, metric, points in found.series
        ],
        "series_keys": list(SERIES),
        "shifts": [_shift(shift, numbers, texts) for shift in found.shifts],
        "trials": [
            [numbers(row["run_id"]), row["caught"], row["mutants"], row["false_alarms"]]
            for row in rows_of(found.frames.trials)
        ],
        "texts": texts.keys,
    }


def _end(value: float) -> Any:
    """An end of an interval; None where nothing bounds it."""
    return None if value in (0.0, float("inf")) else short(value)


def _by_run(changes: list[Change]) -> dict[str, list[Change]]:
    """By the run that they came with, losses first."""
    moved: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        moved[change.after_run].append(change)
    order = ("lost", "gained", "changed")
    for items in moved.values():
        items.sort(key=lambda change: order.index(change.direction))
    return moved


def _counts(frames: Frames, numbers: Numbered[str], texts: Numbered[str]) -> list[list[int]]:
    """Run, implementation, family and the counts of each."""
    table = frames.implementations
    columns = zip(
        table.run_id, table.implementation, table.family, *(table[c] for c in _COUNTS), strict=True
    )
    return [
        [numbers(run_id), texts(name), texts(family), *map(int, counts)]
        for run_id, name, family, *counts in columns
    ]


def _change(change: Change, numbers: Numbered[str], texts: Numbered[str]) -> list[int]:
    words = (
        change.implementation, change.rule, change.dtype, change.device, change.before,
        change.after, change.direction,
    )  # fmt: skip
    return [numbers(change.before_run), numbers(change.after_run), *map(texts, words)]


def _shift(shift: Shift, numbers: Numbered[str], texts: Numbered[str]) -> dict[str, Any]:
    low, high = shift.interval
    return {
        "series": [texts(part) for part in shift.series],
        "metric": texts(shift.metric),
        "runs": [numbers(shift.last_run), numbers(shift.after.run_id)],
        "values": [short(shift.before.value), short(shift.after.value)],
        "factor": [short(shift.factor, 3), short(low, 3), short(high, 3)],
        "confirmed": shift.confirmed,
    }


def news(found: Analysis) -> tuple[Counter[str], list[Shift]]:
    """Directions of the newest judging run's changes, and the regressions of the newest runs."""
    judged = [run_id for run_id, run in found.runs.items() if run["kind"] == "results"]
    moved: Counter[str] = Counter(c.direction for c in found.changes if c.after_run in judged[-1:])
    newest = {run_id for run_id, run in found.runs.items() if not run["recalled"]}
    return moved, [s for s in found.shifts if s.worse and s.after.run_id in newest]
