"""Runs in the order of time."""

from __future__ import annotations

import datetime as dt

from .frames import Frames, Row, rows_of

_START = dt.datetime.min.replace(tzinfo=dt.UTC)


def moment(started_at: object) -> dt.datetime:
    """The time that an ISO 8601 text names; what names none comes first of all."""
    try:
        found = dt.datetime.fromisoformat(str(started_at))
    except ValueError:
        return _START
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def ordered_runs(frames: Frames) -> dict[str, Row]:
    """Every run by its id, oldest first."""
    runs = sorted(rows_of(frames.runs), key=lambda run: moment(run["started_at"]))
    return {run["run_id"]: run for run in runs}
