"""Detection: which mutant which rule catches, and what other ways of testing catch."""

from __future__ import annotations

from typing import Any

from ..analysis import Analysis
from ..frames import Row, rows_of
from . import Numbered, short


def payload(found: Analysis) -> dict[str, Any] | None:
    """The newest trial that this site was given, a matrix before one without."""
    trial = _newest(found)
    baselines = _last(found, rows_of(found.frames.baselines))
    if trial is None and not baselines:
        return None
    names = ("name", "caught", "mutants", "rejected", "variants")
    return {
        "baselines": [[row[key] for key in names] for row in baselines],
        **(_trial(found, trial) if trial else {}),
    }


def _trial(found: Analysis, trial: Row) -> dict[str, Any]:
    rules: Numbered[str] = Numbered()
    frames = found.frames
    table = rows_of(frames.mutants[frames.mutants.run_id == trial["run_id"]])
    place = {row["name"]: number for number, row in enumerate(table)}
    kills = rows_of(frames.kills[frames.kills.run_id == trial["run_id"]])
    run = found.runs[trial["run_id"]]
    keys = ("profile", "seed", "subject_commit", "started_at")
    return {
        "trial": {**trial, **{key: run[key] for key in keys}},
        "mutants": [
            [
                row["name"], row["family"], row["kind"], row["status"], row["rule"],
                row["dtype"], row["cases"], short(row["seconds"], 2), row["message"],
            ]
            for row in table
        ],
        "kills": [[place[row["name"]], rules(row["rule"]), int(row["alone"])] for row in kills],
        "rules": rules.keys,
    }  # fmt: skip


def _newest(found: Analysis) -> Row | None:
    with_details = set(found.frames.mutants.run_id)
    trials = [row for row in rows_of(found.frames.trials) if row["run_id"] in with_details]
    order = list(found.runs)
    trials.sort(key=lambda row: (row["matrix"], order.index(row["run_id"])))
    return trials[-1] if trials else None


def _last(found: Analysis, rows: list[Row]) -> list[Row]:
    """Those of the newest run among them."""
    order = list(found.runs)
    newest = max((row["run_id"] for row in rows), key=order.index, default=None)
    return [row for row in rows if row["run_id"] == newest]
