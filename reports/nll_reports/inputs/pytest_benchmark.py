"""pytest-benchmark's JSON, of benchmarks whose ``extra_info`` has the join keys."""

from __future__ import annotations

from typing import Any

from nll_conformance.errors import UsageError

from ..frames import JOIN_KEYS, Row, Rows
from . import Source, name, number, optional
from .bench import measurement
from .selftest import digest


def claims(source: Source) -> bool:
    """Whether this is such a file."""
    document = source.document
    return isinstance(document, dict) and {"benchmarks", "machine_info"} <= set(document)


def read(source: Source) -> Rows:
    """A row for each benchmark that says what it measured."""
    document = source.document
    run_id = digest(source.data)
    rows: list[Row] = []
    skipped = []
    for item in document["benchmarks"]:
        keys = item.get("extra_info") or {}
        if set(JOIN_KEYS) - {"shape", "pass"} <= set(keys):
            rows.append(_row(run_id, keys, item.get("stats") or {}))
        else:
            skipped.append(name(item.get("name", "?")))
    if not rows:
        raise UsageError(
            f"{source.path}: no benchmark whose extra_info has {', '.join(JOIN_KEYS)}."
        )
    notices = []
    if skipped:
        text = f"{len(skipped)} benchmarks do not say what they measured: {skipped[0]}, ..."
        notices.append({"source": str(source.path), "text": text})
    return {"runs": [_run(source, run_id)], "bench": rows, "notices": notices}


def _row(run_id: str, keys: dict[str, Any], stats: dict[str, Any]) -> Row:
    row = measurement(run_id, keys)
    median = number(stats.get("median"))
    row["rounds"] = number(stats.get("rounds"))
    row["time_ms"] = None if median is None else median * 1e3
    row["time_ms_low"], row["time_ms_high"] = _interval(stats.get("data"))
    if row["time_ms_low"] is None:
        row["limits"] = "No interval: the file was written without --benchmark-save-data."
    return row


def _interval(seconds: Any) -> tuple[float | None, float | None]:
    """95 % interval of the median, in ms: the order statistics n/2 -+ 1.96 sqrt(n)/2.

    (Conover, Practical Nonparametric Statistics, the large-sample form; from 10 rounds on.)
    """
    if not isinstance(seconds, list) or len(seconds) < 10:
        return None, None
    ordered = sorted(float(second) for second in seconds)
    count = len(ordered)
    half = 1.96 * count**0.5 / 2
    low = max(int(count / 2 - half), 0)
    high = min(int(count / 2 + half + 1), count - 1)
    return ordered[low] * 1e3, ordered[high] * 1e3


def _run(source: Source, run_id: str) -> Row:
    document = source.document
    commit, machine = document.get("commit_info") or {}, document.get("machine_info") or {}
    dirty = "+" if commit.get("dirty") else ""
    cpu = machine.get("cpu") or {}
    return {
        "run_id": run_id,
        "kind": "pytest-benchmark",
        "source": str(source.path),
        "complete": True,
        "started_at": optional(document.get("datetime")),
        "subject_commit": f"{name(commit['id'])}{dirty}" if commit.get("id") else None,
        "machine": optional(machine.get("node")),
        "processor": optional(cpu.get("brand_raw") if isinstance(cpu, dict) else cpu),
        "recalled": False,
    }
