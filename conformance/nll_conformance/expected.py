"""Known failures: what excuses a result, for how long, and when the excuse is stale.

An entry excuses exactly one outcome of one implementation under one rule (in one dtype, on
one device, where it says so).  It never turns anything else green, and stops excusing on
the day after ``expires``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import UsageError
from .expected_entries import check_entry, parse_toml
from .model import BAD_OUTCOMES, Expected, Implementation, Result
from .render.text import one_line
from .results import plain


@dataclass(frozen=True)
class Entry:
    """An expected failure of one implementation; ``origin`` says where it is written."""

    implementation: str
    expected: Expected
    origin: str = ""

    def covers(self, result: Result) -> bool:
        """Whether this entry speaks of that result, whatever its outcome."""
        return self.implementation == result.implementation and self.expected.covers(
            result.rule, result.dtype, result.device
        )

    def expired(self, today: dt.date) -> bool:
        """Whether the last day on which it excuses is over."""
        expires = self.expected.expires
        return expires is not None and today > dt.date.fromisoformat(expires)


def declared(implementation: Implementation) -> tuple[Entry, ...]:
    """The expected failures that an implementation carries in its own declaration."""
    origin = f"declaration of {implementation.name}"
    return tuple(Entry(implementation.name, e, origin) for e in implementation.expected)


def load(
    path: str | os.PathLike[str],
    *,
    rules: Iterable[str] | None = None,
    implementations: Iterable[str] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> tuple[Entry, ...]:
    """The entries of that TOML file.

    ``rules`` and ``implementations``, where given, are the names that may occur;
    ``aliases`` leads from former rule ids to present ones.  Raises UsageError naming the
    file, the entry and the mistake.
    """
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot read expected failures from {path}: {reason}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; expected a TOML file.") from None
    known = {
        "rule": None if rules is None else {*rules, *(aliases or {})},
        "implementation": None if implementations is None else set(implementations),
    }
    try:
        tables = parse_toml(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    entries: list[Entry] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, table in enumerate(tables, 1):
        origin = f"{path}, entry {number}"
        try:
            name, expected = check_entry(table, known)
        except UsageError as error:
            raise UsageError(f"{origin}: {error}") from None
        expected = replace(expected, rule=(aliases or {}).get(expected.rule, expected.rule))
        key = (name, expected.rule, expected.dtype, expected.device, expected.outcome)
        if key in seen:
            raise UsageError(f"{origin}: repeats entry {seen[key]}; remove one of them.")
        seen[key] = number
        entries.append(Entry(name, expected, origin))
    return tuple(entries)


def expired(entries: Iterable[Entry], today: dt.date) -> tuple[Entry, ...]:
    """The entries that no longer excuse anything, to be reported."""
    return tuple(entry for entry in entries if entry.expired(today))


def apply(
    result: Result,
    entries: Iterable[Entry],
    today: dt.date,
    *,
    case_run: bool = False,
) -> Result:
    """The result in the light of the entries.

    An excused outcome becomes ``expected_failure``.  A pass becomes ``unexpected_pass`` only
    where ``case_run`` says that the entry's own case was among those judged: other cases
    may simply have missed the fault.  A bad outcome that an entry covers but does not excuse
    stays, with the reason why.
    """
    covering = [entry for entry in entries if entry.covers(result)]
    valid = [entry for entry in covering if not entry.expired(today)]
    if result.outcome in BAD_OUTCOMES:
        for entry in valid:
            if entry.expected.outcome == result.outcome:
                return _explained(result, entry, "expected_failure")
        if covering:
            return replace(result, reason=_why_not(covering[0], result, today))
    if result.outcome == "pass" and case_run:
        for entry in valid:
            if entry.expected.case is not None:
                return _explained(result, entry, "unexpected_pass")
    return result


def _explained(result: Result, entry: Entry, outcome: Any) -> Result:
    known = entry.expected
    return replace(result, outcome=outcome, reason=known.reason, link=known.link)


def _why_not(entry: Entry, result: Result, today: dt.date) -> str:
    if entry.expired(today):
        return f"the expected failure expired on {entry.expected.expires} ({entry.origin})"
    return f"expected outcome {entry.expected.outcome}, came {result.outcome} ({entry.origin})"


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> int:
    """Add an entry for each bad result that the file does not cover; how many were added.

    What the file holds already, comments and reasons, stays as it is; new entries follow,
    sorted, with the finding's message as their reason and the counter-example as their case.
    """
    target = Path(path)
    old = load(target) if target.exists() else ()
    new = sorted(
        (
            r
            for r in results
            if r.outcome in BAD_OUTCOMES
            and not any(e.covers(r) and e.expected.outcome == r.outcome for e in old)
        ),
        key=lambda r: r.key,
    )
    text = target.read_bytes().decode() if target.exists() else _PREFACE
    if text and not text.endswith("\n"):
        text += "\n"
    _replace_file(target, text + "".join(_toml(result) for result in new))
    return len(new)


_PREFACE = "# Expected failures of nll-conformance: what is known, why, where to follow it.\n"


def _toml(result: Result) -> str:
    fields = {
        "implementation": result.implementation,
        "rule": result.rule,
        "dtype": result.dtype,
        "device": result.device,
        "outcome": result.outcome,
        "reason": one_line(result.message, 500) or f"ends as {result.outcome}",
        "link": "",
    }
    lines = ["", "[[expected]]", *(f"{key} = {_quoted(v)}" for key, v in fields.items())]
    if result.counterexample is not None:
        case = json.dumps(plain(result.counterexample)).replace("'", "\\u0027")
        lines.append(f"case = '{case}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL, which must be escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replace_file(target: Path, text: str) -> None:
    """Write beside, then rename: a full disk leaves the old file as it was."""
    spare = ""
    try:
        number, spare = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(number, "wb") as file:
            file.write(text.encode())
        Path(spare).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
        Path(spare).replace(target)
    except OSError as error:
        if spare:
            Path(spare).unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot write expected failures to {target}: {reason}.") from None
