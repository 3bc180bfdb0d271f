"""One line of a results file, checked: a header, a result, a footer, or a clear error.

The checks say the same as ``schemas/results.schema.json`` (a test holds the two together);
they are written out so that reading needs no schema library and errors name file and line.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from .errors import UsageError, unknown
from .model import LEVELS, OUTCOMES, Result
from .render.text import one_line
from .report import SCHEMA

KINDS = ("header", "result", "footer")
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def bad_line(path: str | os.PathLike[str], number: int, wrong: str) -> UsageError:
    """The error for that line of that file."""
    return UsageError(f"{path}:{number}: {wrong}.")


def parse(path: str | os.PathLike[str], number: int, line: bytes) -> Result | Mapping[str, Any]:
    """The line as a Result, or as the object of a header or footer."""
    data = _object(path, number, line)
    kind = data.get("kind")
    if number == 1 and kind != "header":
        raise bad_line(path, 1, "no results file: the first line must have kind 'header', schema 1")
    if kind not in KINDS:
        raise bad_line(path, number, str(unknown("kind", one_line(repr(kind), 80), KINDS)))
    if kind == "header":
        _check_header(path, number, data)
        return data
    if kind == "footer":
        return data
    return _result(path, number, data)


def _object(path: str | os.PathLike[str], number: int, line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line.decode())
    except (ValueError, RecursionError):
        seen = one_line(line, 60) or "an empty line"
        raise bad_line(path, number, f"malformed: expected one JSON object, found {seen}") from None
    if not isinstance(data, dict):
        raise bad_line(path, number, "malformed: expected a JSON object with a kind")
    return data


def _check_header(path: str | os.PathLike[str], number: int, data: dict[str, Any]) -> None:
    if number != 1:
        raise bad_line(path, number, "a second header: two runs in one file")
    schema = data.get("schema")
    if schema != SCHEMA:
        shown = one_line(repr(schema), 40)
        raise bad_line(path, 1, f"schema {shown}: this version reads schema {SCHEMA} only")
    implementations = data.get("implementations")
    if not isinstance(implementations, list) or not all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in implementations
    ):
        raise bad_line(path, 1, "implementations must be a list of objects with a name")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)


#: For each annotation of a Result's field: what a reader accepts, and how to say it.
_ACCEPTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda v: isinstance(v, str), "a string"),
    "int": (lambda v: _is_int(v) and v >= 0, "an integer from 0"),
    "float": (_is_number, "a number"),
    "float | None": (lambda v: v is None or _is_number(v), "a number or null"),
    "Mapping[str, Any] | None": (
        lambda v: v is None or isinstance(v, dict),
        "an object or null",
    ),
    "Level": (lambda v: v in LEVELS, f"one of {', '.join(LEVELS)}"),
    "Outcome": (lambda v: v in OUTCOMES, f"one of {', '.join(OUTCOMES)}"),
}
#: Fields that renderers, commands and file names use as they are.
_WORDS = {
    "family": re.compile(r"[a-z0-9_]+"),
    "rule": re.compile(r"[a-z0-9_]+\.[a-z0-9_]+"),
    "dtype": re.compile(r"[a-z0-9_]+"),
    "device": re.compile(r"[a-z0-9_:]+"),
}
_FIELDS = {field.name: field for field in fields(Result)}


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with the names of non-finite numbers turned back into numbers."""
    values = {key: value for key, value in data.items() if key != "kind"}
    for name, field in _FIELDS.items():
        if str(field.type).startswith("float") and isinstance(values.get(name), str):
            values[name] = _NONFINITE.get(values[name], values[name])
    return values


def revive(data: Mapping[str, Any]) -> Result:
    """The Result whose JSON object, as ``results.plain`` makes it, this is; unchecked."""
    return Result(**_numbers(data))


def _result(path: str | os.PathLike[str], number: int, data: dict[str, Any]) -> Result:
    values = _numbers(data)
    for name in values:
        if name not in _FIELDS:
            shown = one_line(name, 80)
            raise bad_line(path, number, str(unknown("result field", shown, _FIELDS))[:-1])
    for name, field in _FIELDS.items():
        if name not in values:
            if field.default is MISSING:
                raise bad_line(path, number, f"a result without {name!r}")
            continue
        accepts, expected = _ACCEPTS[str(field.type)]
        if not accepts(values[name]):
            shown = one_line(repr(values[name]), 60)
            raise bad_line(path, number, f"{name} is {shown}, must be {expected}")
    for name, pattern in _WORDS.items():
        if not pattern.fullmatch(values[name]):
            shown = one_line(repr(values[name]), 60)
            raise bad_line(path, number, f"{name} is {shown}, which is no {name}")
    return Result(**values)
