"""asv's results folder: a file for each machine, commit and environment.

The format is that of asv 0.6 (``asv/results.py``, version 2): ``results`` maps a benchmark to
a list with one entry for each of ``result_columns``; parameters vary as in
``itertools.product``, and values are None (failed) or NaN (skipped) where there is none.  A
``time_`` benchmark is a time; a ``track_`` one goes into the column that its name ends with.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nll_conformance.errors import UsageError

from ..frames import Row, Rows
from . import name, number, optional, shape
from .bench import NUMBERS

#: Where asv puts its results, looked for in this order.
PLACES = (".", "results", ".asv/results")
_NEEDED = {"implementation", "family"}


def folder(path: Path) -> Path | None:
    """The results folder at or below ``path``; None where there is none."""
    for place in PLACES:
        at = path / place
        if (at / "benchmarks.json").is_file() or any(at.glob("*/machine.json")):
            return at
    return None


def read(path: Path) -> Rows:
    """The rows of every file of a results folder."""
    benchmarks = _benchmarks(path)
    found: Rows = {"runs": [], "bench": [], "notices": []}
    unnamed: set[str] = set()
    for file in sorted(path.glob("*/*.json")):
        if file.name == "machine.json":
            continue
        try:
            _read_file(file, benchmarks, found, unnamed)
        except (ValueError, KeyError, TypeError, AttributeError):
            text = "No file of asv's results, version 2; it was left out."
            found["notices"].append({"source": str(file), "text": text})
    if not found["runs"]:
        raise UsageError(f"{path}: an asv folder without results; has `asv run` stored any?")
    if unnamed:
        some = ", ".join(sorted(unnamed)[:3])
        text = (
            f"{len(unnamed)} asv benchmarks have no parameters implementation and family, "
            f"and are not shown: {some}"
        )
        found["notices"].append({"source": str(path), "text": text})
    return found


def _benchmarks(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / "benchmarks.json").read_bytes())
    except (OSError, ValueError):
        raise UsageError(
            f"{path}: no readable benchmarks.json, without which asv's parameters have no names."
        ) from None
    return found if isinstance(found, dict) else {}


def _read_file(file: Path, benchmarks: dict[str, Any], found: Rows, unnamed: set[str]) -> None:
    document = json.loads(file.read_bytes())
    if document["version"] != 2:
        raise ValueError
    machine = file.parent.name
    who = f"{machine} {document['commit_hash']} {document['env_name']}"
    run_id = hashlib.sha256(who.encode()).hexdigest()[:32]
    date = dt.datetime.fromtimestamp(document["date"] / 1000, dt.UTC)
    versions = document.get("requirements") or {}
    found["runs"].append(
        {
            "run_id": run_id,
            "kind": "asv",
            "source": str(file),
            "complete": True,
            "started_at": date.isoformat(timespec="seconds"),
            "subject_commit": name(document["commit_hash"]),
            "machine": name(machine),
            "processor": optional((document.get("params") or {}).get("cpu")),
            "torch": optional(versions.get("torch")),
            "recalled": False,
        }
    )
    rows: dict[tuple[str, ...], Row] = {}
    columns = document["result_columns"]
    for benchmark, values in document["results"].items():
        names = benchmarks.get(benchmark, {}).get("param_names") or []
        if not set(names) >= _NEEDED:
            unnamed.add(name(benchmark))
            continue
        entry = dict(zip(columns, values, strict=False))
        for keys, at in _points(names, entry.get("params") or []):
            row = rows.setdefault(tuple(map(str, keys.values())), _row(run_id, keys))
            _put(row, benchmark, entry, at)
    found["bench"] += [row for row in rows.values() if row["outcome"] == "timed"]


def _points(names: list[str], params: list[list[str]]) -> Iterator[tuple[dict[str, Any], int]]:
    """Every combination of parameters, by name, with its place among the results."""
    for at, combination in enumerate(itertools.product(*params)):
        yield dict(zip(names, map(_literal, combination), strict=False)), at


def _literal(written: str) -> Any:
    """A parameter, of which asv stores the repr."""
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return written


def _row(run_id: str, keys: dict[str, Any]) -> Row:
    rows, classes = shape(keys.get("shape"))
    return {
        "run_id": run_id,
        "implementation": name(keys["implementation"]),
        "family": name(keys["family"]),
        "dtype": name(keys.get("dtype", "float32")),
        "device": name(keys.get("device", "cpu")),
        "shape": name(keys.get("shape", "?")),
        "pass": name(keys.get("pass", "both")),
        "rows": rows,
        "classes": classes,
        "outcome": "skipped",
        "message": "",
        "interval": "99 %",
        "limits": "",
    }


def _put(row: Row, benchmark: str, entry: dict[str, Any], at: int) -> None:
    """One value, into the column that the benchmark's name says."""
    value = number(_at(entry.get("result"), at))
    if value is None or math.isnan(value):
        return
    method = benchmark.rpartition(".")[2]
    if method.startswith("time_"):
        row["time_ms"] = value * 1e3
        for column, stored in (("time_ms_low", "stats_ci_99_a"), ("time_ms_high", "stats_ci_99_b")):
            end = number(_at(entry.get(stored), at))
            row[column] = None if end is None or not math.isfinite(end) else end * 1e3
        row["rounds"] = number(_at(entry.get("stats_repeat"), at))
    elif method.startswith("track_"):
        into = max((c for c in NUMBERS if method.endswith(c)), key=len, default="")
        if not into:
            return
        row[into] = value
    else:
        return
    row["outcome"] = "timed"


def _at(values: Any, at: int) -> Any:
    return values[at] if isinstance(values, list) and at < len(values) else None
