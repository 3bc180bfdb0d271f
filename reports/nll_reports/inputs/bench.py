"""Bench results, the JSON Lines of ``bench --json``."""

from __future__ import annotations

import json
from typing import Any

from nll_conformance.errors import UsageError

from ..frames import COLUMNS, Row, Rows
from . import Source, name, number, optional, shape, text

#: Columns of the table that are numbers in the file as well.
NUMBERS = tuple(
    column
    for column in COLUMNS["bench"]
    if column.startswith(("time_", "copy_", "ratio_", "added_", "gb_", "error_"))
)


def claims(source: Source) -> bool:
    """Whether this is a file of ``bench``."""
    document = source.document
    return source.lines and isinstance(document, dict) and "rounds" in document


def read(source: Source) -> Rows:
    """The rows of one run; a file without its footer was cut short."""
    lines = source.data.split(b"\n")[:-1]
    header, footer = source.document, {}
    run_id = name(header.get("run_id") or source.path.name)
    rows: list[Row] = []
    for place, line in enumerate(lines[1:], 2):
        found = _parse(source, place, line)
        if found.get("kind") == "bench":
            rows.append(measurement(run_id, found))
        elif found.get("kind") == "footer":
            footer = found
    complete = bool(footer) and not footer.get("interrupted", False)
    found_rows: Rows = {"runs": [_run(source, header, footer, complete)], "bench": rows}
    if not complete:
        sentence = f"The bench was cut short after {len(rows)} measurements; they are shown."
        found_rows["notices"] = [{"source": str(source.path), "text": sentence}]
    return found_rows


def _parse(source: Source, place: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{source.path}:{place}: malformed, expected one JSON object.")
    return found


def _run(source: Source, header: dict[str, Any], footer: dict[str, Any], complete: bool) -> Row:
    environment = header.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    words = ("suite_version", "spec_version", "suite_commit", "subject_commit", "machine")
    return {
        "run_id": name(header.get("run_id") or source.path.name),
        "kind": "bench",
        "source": str(source.path),
        "complete": complete,
        "started_at": optional(header.get("started_at")),
        "seconds": number(footer.get("seconds")),
        **{word: optional(header.get(word)) for word in words},
        "seed": optional(header.get("seed")),
        "torch": optional(environment.get("torch")),
        "processor": optional(environment.get("processor")),
        "threads": optional(header.get("threads", environment.get("threads"))),
        "recalled": False,
    }


def measurement(run_id: str, line: dict[str, Any]) -> Row:
    """One line of a bench file, or the extra info of a pytest-benchmark, as a row."""
    rows, classes = shape(line.get("shape"))
    limits = line.get("limits")
    return {
        "run_id": run_id,
        "implementation": name(line.get("implementation", "?")),
        "family": name(line.get("family", "?")),
        "version": optional(line.get("version")),
        "dtype": name(line.get("dtype", "?")),
        "device": name(line.get("device", "cpu")),
        "shape": name(line.get("shape", "?")),
        "pass": name(line.get("pass", "both")),
        "rows": rows,
        "classes": classes,
        "outcome": name(line.get("outcome", "timed")),
        "message": text(line.get("message")),
        "rounds": number(line.get("rounds")),
        "interval": "95 %",
        **{column: number(line.get(column)) for column in NUMBERS},
        "limits": " ".join(text(item) for item in limits) if isinstance(limits, list) else "",
    }
