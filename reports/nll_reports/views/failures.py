"""Failure: what was expected, what came, the smallest case, and how to see it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..frames import Row
from . import Numbered

#: Outcomes that have a page of their own.
SHOWN = ("fail", "crash", "timeout", "error", "expected_failure", "unexpected_pass")
#: Characters of programs that one page holds; beyond, the results file has them.
PROGRAMS_LIMIT = 3_000_000
#: ``judge`` writes the worst entry so.
_NUMBERS = re.compile(
    r"(?P<what>.+?) is (?P<got>\S+), expected (?P<want>\S+): "
    r"(?:off by (?P<off>[^\s,]+)|not close)(?:, (?P<times>\S+) times the bound (?P<bound>\S+))?"
    r"(?: \((?P<wrong>\d+) of (?P<of>\d+) entries are wrong\))?"
)


def payload(results: list[Row]) -> dict[str, Any]:
    """Details by number of the result, texts that occur more than once only once."""
    texts: Numbered[str] = Numbered([""])
    room = PROGRAMS_LIMIT
    details: dict[str, dict[str, Any]] = {}
    for place, row in enumerate(results):
        if row["outcome"] not in SHOWN:
            continue
        detail = _detail(row)
        program = row["reproducer"] or ""
        room -= 0 if program in texts else len(program)
        if program and room < 0:
            detail["cut"] = 1
        elif program:
            detail["program"] = texts(program)
        details[str(place)] = detail
    return {"texts": texts.keys, "details": details}


def _detail(row: Row) -> dict[str, Any]:
    seen = _NUMBERS.match(row["message"] or "")
    detail = {
        "message": row["message"],
        "numbers": {k: v for k, v in seen.groupdict().items() if v} if seen else None,
        "replay": row["replay"],
        "reason": row["reason"],
        "link": row["link"],
        "cause": None if row["cause"] is None else int(row["cause"]),
        "case": list(_case(row["counterexample"])),
    }
    return {key: value for key, value in detail.items() if value not in (None, "", [])}


def _case(case: Any) -> Iterator[tuple[str, str]]:
    """Name and description of each tensor and option of a counter-example."""
    if not isinstance(case, dict):
        return
    recipes = case.get("recipe")
    for name, recipe in (recipes if isinstance(recipes, dict) else {}).items():
        yield str(name), _tensor(recipe)
    for name, value in (case.get("options") or {}).items():
        yield str(name), repr(value)[:200]
    if case.get("upstream"):
        yield "upstream gradient", _tensor(case["upstream"])


def _tensor(recipe: Any) -> str:
    """``[2, 3] float32, scatter, scale 2^-1, 1 edit``."""
    if not isinstance(recipe, dict):
        return repr(recipe)[:200]
    parts = [f"{recipe.get('shape')} {recipe.get('dtype')}", str(recipe.get("regime"))]
    if recipe.get("scale"):
        parts.append(f"scale 2^{recipe['scale']}")
    if recipe.get("offset"):
        parts.append(f"offset {recipe['offset']}")
    edits = recipe.get("edits") or []
    parts += [f"{_index(at)} = {value}" for at, value in edits[:6]]
    parts += [f"{len(edits) - 6} more entries set"] if len(edits) > 6 else []
    return ", ".join(parts)[:500]


def _index(at: Any) -> str:
    """An edit's place, in which None is the whole axis."""
    places = at if isinstance(at, list) else [at]
    return f"[{', '.join(':' if place is None else str(place) for place in places)}]"
