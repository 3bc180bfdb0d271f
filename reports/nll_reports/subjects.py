"""Which results speak of the same thing: the same version, or the same clean commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .frames import Frames, Row, rows_of


def same_subject(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two measurements are of the same implementation version or commit.

    Compared are ``version``, ``subject_commit`` and ``torch``.  A changed tree (``+`` behind
    the commit) may be anything, so that it is the same only within one run.
    """
    if one.get("run_id") == other.get("run_id"):
        return True
    torch = (one.get("torch"), other.get("torch"))
    if None not in torch and torch[0] != torch[1]:
        return False
    versions = (one.get("version"), other.get("version"))
    if None not in versions:
        return bool(versions[0] == versions[1])
    commits = (one.get("subject_commit"), other.get("subject_commit"))
    if None in commits or str(commits[0]).endswith("+"):
        return False
    return bool(commits[0] == commits[1])


def subjects(frames: Frames) -> list[Row]:
    """The implementations of every run, with what identifies what was checked."""
    runs = {run["run_id"]: run for run in rows_of(frames.runs)}
    return [_identified(row, runs) for row in rows_of(frames.implementations)]


def _identified(row: Row, runs: Mapping[str, Row]) -> Row:
    run = runs[row["run_id"]]
    extra = ("subject_commit", "torch", "started_at", "spec_version", "profile", "machine")
    return {**row, **{key: run.get(key) for key in extra}, "recalled": run["recalled"]}


def current(frames: Frames) -> tuple[list[Row], list[Row]]:
    """The newest subject of each implementation, with all ``run_ids`` that judged it.

    Second: a notice for each older subject, whose results are told by the history alone.
    """
    newest: dict[tuple[str, str], Row] = {}
    left: dict[tuple[str, str], list[Row]] = {}
    live = [row for row in subjects(frames) if not row["recalled"]]
    for row in sorted(live, key=lambda row: str(row["started_at"] or ""), reverse=True):
        key = (row["implementation"], row["family"])
        first = newest.setdefault(key, {**row, "run_ids": []})
        if same_subject(first, row) and first["spec_version"] == row["spec_version"]:
            first["run_ids"].append(row["run_id"])
        else:
            left.setdefault(key, []).append(row)
    return list(newest.values()), _older(left)


def _older(left: Mapping[tuple[str, str], list[Row]]) -> list[Row]:
    """One sentence for all results that are not of the newest subject."""
    if not left:
        return []
    names = [name for name, _ in left]
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    text = (
        f"Of {some} there are results of several versions, commits or specifications; the "
        "newest are shown, the others only under History."
    )
    return [{"source": "", "text": text}]
