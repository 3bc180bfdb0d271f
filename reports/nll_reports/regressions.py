"""Where a measurement got worse, by its intervals and not by eye.

A run differs from the level before it if even the ends of their intervals that are nearest to
each other are :data:`FACTOR` apart; the level is the first run after the last step, so that many
small steps add up.  Where another run follows, it must differ likewise, because one noisy run is
no regression.  Runs are compared within a machine.  Resident memory is known to some pages;
accuracy is measured on fixed inputs, so that it has no interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from .frames import Frames, Row, rows_of

#: The least change that is told.
FACTOR = 1.05
#: Column -> half its interval, None where the measurement says it; the smaller the better.
METRICS = {"ratio_to_copy": None, "added_bytes": 2.0**17, "error_units": 0.0}
SERIES = ("implementation", "family", "dtype", "device", "shape", "pass", "machine", "kind")


@dataclass(frozen=True)
class Point:
    """One measurement of a series; the interval is a point where there is none to take."""

    run_id: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """A step of a series, as a factor (after / before) and its interval."""

    series: tuple[str, ...]
    metric: str
    before: Point
    after: Point
    #: The newest run that still agrees with ``before``: the step is between it and ``after``.
    last_run: str
    confirmed: bool

    @property
    def factor(self) -> float:
        """How many times as much it is."""
        return self.after.value / self.before.value

    @property
    def interval(self) -> tuple[float, float]:
        """The smallest and the largest factor that both intervals allow."""
        return self.after.low / self.before.high, self.after.high / self.before.low

    @property
    def worse(self) -> bool:
        """Whether it is a regression, or a gain."""
        return self.factor > 1


#: What was measured where (:data:`SERIES`), the metric, and its points, oldest first.
Series: TypeAlias = tuple[tuple[str, ...], str, list[Point]]


def series(frames: Frames, runs: Mapping[str, Row]) -> Iterator[Series]:
    """Every series of the benches and of the accuracy; ``runs`` are in order."""
    place = {run_id: number for number, run_id in enumerate(runs)}
    rows = rows_of(frames.bench[frames.bench.outcome == "timed"]) + rows_of(frames.accuracy)
    grouped: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        run = runs[row["run_id"]]
        row["machine"], row["kind"] = run["machine"], run["kind"]
        grouped[tuple(str(row.get(key) or "") for key in SERIES)].append(row)
    for key, found in grouped.items():
        found.sort(key=lambda row: place[row["run_id"]])
        for metric, margin in METRICS.items():
            if metric == "error_units" and key[-1] != "results":
                continue  # the error on the timed input depends on which input that is
            points = [p for p in (_point(row, metric, margin) for row in found) if p]
            if points:
                yield key, metric, points


def _point(row: Row, metric: str, margin: float | None) -> Point | None:
    value = row.get(metric)
    if value is None or not math.isfinite(value):
        return None
    if margin is not None:
        return Point(row["run_id"], value, max(min(value, 1.0), value - margin), value + margin)
    low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    if low is None or high is None:  # nothing can be said against it
        return Point(row["run_id"], value, 0.0, math.inf)
    return Point(row["run_id"], value, low, high)


def shifts(found: Iterable[Series]) -> list[Shift]:
    """Every confirmed step, and those of the newest runs that nothing confirms yet."""
    return [shift for key, metric, points in found for shift in _steps(key, metric, points)]


def _steps(key: tuple[str, ...], metric: str, points: Sequence[Point]) -> Iterator[Shift]:
    """Each point against the level that the series has had since its last step."""
    level = last = points[0]
    for after, following in zip_longest(points[1:], points[2:]):
        direction = _apart(level, after)
        if not direction:
            last = after
        elif following is None or _apart(level, following) == direction:
            yield Shift(key, metric, level, after, last.run_id, following is not None)
            level = last = after


def _apart(one: Point, other: Point) -> int:
    """1 if the other is larger for certain, -1 if smaller, 0 if that cannot be said."""
    if one.value <= 0 or other.value <= 0:
        return 0
    if other.low > FACTOR * one.high:
        return 1
    return -1 if one.low > FACTOR * other.high else 0
