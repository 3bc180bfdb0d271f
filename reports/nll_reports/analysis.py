"""What the tables say together, worked out once for all views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .changes import Change, changes
from .frames import Frames, Row, rows_of
from .order import ordered_runs
from .regressions import Series, Shift, series, shifts
from .subjects import current

_KEY = ("implementation", "family", "rule", "dtype", "device")


@dataclass(frozen=True)
class Analysis:
    """The tables and what follows from them."""

    frames: Frames
    #: Every run by its id, oldest first.
    runs: dict[str, Row]
    #: The newest version or commit of each implementation, with the ``run_ids`` that judged it.
    subjects: list[Row]
    #: Of those, one result for each rule, dtype and device.
    results: list[Row]
    #: Of those, one error for each dtype and device.
    accuracy: list[Row]
    changes: list[Change]
    series: list[Series]
    shifts: list[Shift]
    notices: list[Row]


def analyse(frames: Frames) -> Analysis:
    """Everything that more than one view asks."""
    runs = ordered_runs(frames)
    subjects, older = current(frames)
    measured = list(series(frames, runs))
    return Analysis(
        frames,
        runs,
        subjects,
        results=_newest(rows_of(frames.results), subjects),
        accuracy=_newest(rows_of(frames.accuracy), subjects),
        changes=changes(frames, runs),
        series=measured,
        shifts=shifts(measured),
        notices=[*rows_of(frames.notices), *older],
    )


def _newest(rows: Iterable[Row], subjects: Sequence[Row]) -> list[Row]:
    """One row for each key of the newest subjects: of the newest run that was judged."""
    orders = {
        (run_id, subject["implementation"], subject["family"]): order
        for subject in subjects
        for order, run_id in enumerate(subject["run_ids"])
    }
    best: dict[tuple[str | None, ...], tuple[tuple[bool, int], Row]] = {}
    for row in rows:
        order = orders.get((row["run_id"], row["implementation"], row["family"]))
        if order is None:
            continue
        key = tuple(row.get(column) for column in _KEY)
        rank = (row.get("outcome") == "not_run", order)
        if key not in best or rank < best[key][0]:
            best[key] = (rank, row)
    return [row for _, row in best.values()]
