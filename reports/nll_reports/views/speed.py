"""Speed and memory: the newest measurements, each beside the verdict on the same version."""

from __future__ import annotations

from typing import Any

from ..analysis import Analysis
from ..frames import Row, rows_of
from ..subjects import same_subject
from . import Numbered, short

COLUMNS = (
    "dtype", "device", "shape", "pass", "rows", "classes", "time_ms", "time_ms_low",
    "time_ms_high", "copy_time_ms", "ratio_to_copy", "ratio_to_copy_low", "ratio_to_copy_high",
    "ratio_to_torch", "added_bytes", "added_bytes_ratio", "gb_per_s", "rounds", "interval",
    "outcome", "message", "limits", "version",
)  # fmt: skip
#: What a copy of the logits is called among the implementations.
COPIES = ("copy", "clone")


def payload(found: Analysis) -> dict[str, Any]:
    """The measurements as rows, with the number of the judged implementation or None."""
    runs = found.runs
    place = {run_id: number for number, run_id in enumerate(runs)}
    newest: dict[tuple[Any, ...], Row] = {}
    for row in rows_of(found.frames.bench):
        run = runs[row["run_id"]]
        if run["recalled"]:
            continue
        keys = ("implementation", "family", "dtype", "device", "shape", "pass")
        key = (run["kind"], run["machine"], *(row[k] for k in keys))
        if key not in newest or place[row["run_id"]] >= place[newest[key]["run_id"]]:
            newest[key] = row
    names: Numbered[tuple[str, str]] = Numbered()
    machines: Numbered[tuple[str, str]] = Numbered()
    judged = {
        (row["implementation"], row["family"]): (number, row)
        for number, row in enumerate(found.subjects)
    }
    rows = []
    for row in newest.values():
        run = runs[row["run_id"]]
        who = (row["implementation"], row["family"])
        rows.append(
            [
                names(who),
                _verdict_of(row, run, judged.get(who)),
                machines((str(run["machine"] or "unnamed"), run["kind"])),
                *(_value(row[column]) for column in COLUMNS),
                (run["subject_commit"] or "")[:13],
            ]
        )
    return {
        "columns": ["name", "judged", "machine", *COLUMNS, "commit"],
        "names": names.keys,
        "machines": machines.keys,
        "copies": list(COPIES),
        "rows": rows,
    }


def _verdict_of(row: Row, run: Row, judged: tuple[int, Row] | None) -> int | None:
    """Number of the judged implementation if it is of the same version or commit."""
    if judged is None:
        return None
    number, subject = judged
    measured = {**run, "version": row["version"], "run_id": row["run_id"]}
    return number if same_subject(measured, subject) else None


def _value(value: Any) -> Any:
    return short(value) if isinstance(value, float) else value
