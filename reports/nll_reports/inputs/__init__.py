"""Readers, a module for each kind of input.

Each has ``claims(source)``, whether the file is of its kind, and ``read(source)``, its rows
by table; a file of its kind that cannot be read raises ``UsageError`` with one sentence.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nll_conformance.errors import UsageError
from nll_conformance.render.text import harmless, one_line

#: Characters of foreign text that a table keeps.
NAME_LIMIT, TEXT_LIMIT = 200, 4000
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Source:
    """A file, read once.

    ``document`` is its JSON, or the first line's where the file has one document a line.
    """

    path: Path
    data: bytes
    document: Any
    lines: bool


def source(path: Path) -> Source:
    """The file at that path; UsageError where it is unreadable or neither kind of JSON."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot read {path}: {reason}.") from None
    if not data.strip():
        raise UsageError(f"{path} is empty.")
    first, _, rest = data.partition(b"\n")
    document = _json(first)
    if isinstance(document, dict) and "kind" in document:
        return Source(path, data, document, lines=bool(rest.strip()) or data.endswith(b"\n"))
    document = _json(data)
    if document is None:
        shown = one_line(data[:200], 60)
        raise UsageError(f"{path} is neither JSON nor JSON Lines: it begins with {shown!r}.")
    return Source(path, data, document, lines=False)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def name(value: Any) -> str:
    """Foreign text as the name of something: one line, bounded, nothing invisible."""
    return one_line(str(value), NAME_LIMIT)


def text(value: Any) -> str:
    """Foreign text, bounded, without control characters."""
    return harmless(str(value), TEXT_LIMIT) if value not in (None, "") else ""


def optional(value: Any) -> str | None:
    """A name, or None where there is none."""
    return None if value in (None, "") else name(value)


def number(value: Any) -> float | None:
    """A number as results write them, None where there is none."""
    if isinstance(value, str):
        return _NONFINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def shape(value: Any) -> tuple[str | None, int | None]:
    """Rows and classes of a shape such as 2048x32000 or 4x512x32000, the last axis."""
    *rows, classes = str(value).split("x")
    if not all(part.isdigit() for part in (*rows, classes)):
        return None, None
    return "x".join(rows), int(classes)
