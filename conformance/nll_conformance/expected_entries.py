"""One table of an expected-failures file, checked field by field.

The checks say the same as ``schemas/expected.schema.json``.  Errors here say what is wrong;
the caller knows the file and the entry and puts them in front.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

from .errors import UsageError, unknown
from .model import BAD_OUTCOMES, DEVICES, DTYPES, Expected
from .render.text import one_line

KEYS = (
    "implementation",
    "rule",
    "dtype",
    "device",
    "outcome",
    "reason",
    "link",
    "expires",
    "case",
)
REQUIRED = ("implementation", "rule", "reason")
_CASE_KEYS = {"family", "rule", "recipe", "options", "dtype", "device"}
_RULE_ID = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")


def parse_toml(text: str) -> list[Any]:
    """The ``[[expected]]`` tables of that text."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"malformed TOML: {one_line(str(error), 200)}.") from None
    except RecursionError:
        raise UsageError("malformed TOML: nested too deeply.") from None
    for key in data:
        if key != "expected":
            raise unknown("table", one_line(key, 80), ["expected"])
    tables = data.get("expected", [])
    if not isinstance(tables, list):
        raise UsageError("write [[expected]] with two brackets: it is a list of entries.")
    return tables


def check_entry(table: Any, known: Mapping[str, Collection[str] | None]) -> tuple[str, Expected]:
    """The implementation and the expected failure that ``table`` describes.

    ``known`` holds the valid values of ``rule`` and ``implementation``; None: any.
    """
    if not isinstance(table, dict):
        raise UsageError("not a table; write [[expected]] above its keys.")
    for key in table:
        if key not in KEYS:
            raise unknown("key", one_line(key, 80), KEYS)
    for key in REQUIRED:
        if key not in table:
            raise UsageError(f"{key} is missing; required are {', '.join(REQUIRED)}.")
    texts = {key: _text(table, key) for key in KEYS if key not in ("expires", "case")}
    for key in REQUIRED:
        if not (texts[key] or "").strip():
            raise UsageError(f"{key} is empty.")
    choices = {**known, "dtype": DTYPES, "device": DEVICES, "outcome": BAD_OUTCOMES}
    for key, valid in choices.items():
        given = texts.get(key)
        if given is not None and valid is not None and given not in valid:
            raise unknown(key, one_line(given, 80), valid)
    if not _RULE_ID.fullmatch(texts["rule"] or ""):
        raise UsageError(f"rule {one_line(texts['rule'] or '', 80)!r} is no id (theme.name).")
    outcome: Any = texts["outcome"] or "fail"
    return str(texts["implementation"]), Expected(
        rule=str(texts["rule"]),
        dtype=texts["dtype"],
        device=texts["device"],
        outcome=outcome,
        reason=texts["reason"] or "",
        link=texts["link"] or "",
        expires=_date(table.get("expires")),
        case=_case(table.get("case")),
    )


def _text(table: Mapping[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{key} is {one_line(repr(value), 60)}, must be a string.")
    return value


def _date(value: Any) -> str | None:
    """A TOML date or text, as ISO text."""
    if value is None:
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    try:
        return dt.date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        shown = one_line(repr(value), 60)
        raise UsageError(f"expires is {shown}, must be a date such as 2027-01-31.") from None


def _case(value: Any) -> Mapping[str, Any] | None:
    """The case, as JSON text (TOML has no null, which recipes need) or as a table."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UsageError("case is no valid JSON text.") from None
    if not isinstance(value, dict):
        raise UsageError("case must be a counterexample of a results file, as JSON text.")
    missing = sorted(_CASE_KEYS - set(value))
    if missing:
        raise UsageError(f"case lacks {', '.join(missing)}.")
    return {"upstream": None, **value}
