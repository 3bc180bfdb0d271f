"""Two results files compared: what got worse, what got better, what cannot be compared.

A result is compared with the one of the same implementation, rule, dtype and device.  One
that a run does not have says nothing: the run may have been cut short, asked for less, or
known fewer rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from .model import BAD_OUTCOMES, SPEC_VERSION, Outcome, Result
from .report import Report

Change: TypeAlias = Literal["worse", "better", "same", "rule changed", "not compared"]

#: How good an outcome is; what is absent says nothing of the loss.
_RANK: dict[Outcome, int] = {
    "pass": 2,
    "unexpected_pass": 2,
    "expected_failure": 1,
    "fail": 0,
    "crash": 0,
    "timeout": 0,
}
_SILENT: tuple[Outcome, ...] = ("error", "inconclusive", "not_run", "unsupported")
#: What of two headers decides whether their runs ask the same.
_SETTINGS = ("spec_version", "suite_version", "profile", "mode", "seed", "isolation", "rules")


@dataclass(frozen=True)
class Compared:
    """One key in both files; ``why`` tells what of it cannot be compared."""

    key: tuple[str, str, str, str]
    change: Change
    level: str
    old: Outcome | None
    new: Outcome | None
    message: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the parts of the key by name."""
        names = ("implementation", "rule", "dtype", "device")
        facts = {"change": self.change, "level": self.level, "old": self.old, "new": self.new}
        return {**dict(zip(names, self.key, strict=True)), **facts, "why": self.why}


@dataclass(frozen=True)
class Difference:
    """All that two runs say of each other."""

    compared: tuple[Compared, ...]
    #: In what the runs themselves differ, in words.
    notes: tuple[str, ...]

    def of(self, change: Change) -> tuple[Compared, ...]:
        """Those that changed in that way."""
        return tuple(c for c in self.compared if c.change == change)

    @property
    def exit_code(self) -> int:
        """1 if anything got worse."""
        return 1 if self.of("worse") else 0

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``diff --json``."""
        return {
            "kind": "diff",
            "counts": dict(sorted(Counter(c.change for c in self.compared).items())),
            "notes": list(self.notes),
            "exit_code": self.exit_code,
            "changes": [c.to_json() for c in self.compared if c.change != "same"],
        }


def difference(old: Report, new: Report) -> Difference:
    """Compare two reports, result by result."""
    before = _by_key(old)
    after = _by_key(new)
    keys = dict.fromkeys([*after, *before])
    compared = (_compare(key, before.get(key), after.get(key), old, new) for key in keys)
    return Difference(tuple(compared), tuple(_notes(old, new)))


def _by_key(report: Report) -> dict[tuple[str, str, str, str], Result]:
    """The results, under the present ids of rules that were renamed."""
    former = _former_ids()
    renamed = (replace(r, rule=former.get(r.rule, r.rule)) for r in report.results)
    return {result.key: result for result in renamed}


def _former_ids() -> Mapping[str, str]:
    from .discover import rules

    return {alias: rule.id for rule in rules().values() for alias in rule.aliases}


def _compare(
    key: tuple[str, str, str, str],
    before: Result | None,
    after: Result | None,
    old: Report,
    new: Report,
) -> Compared:
    present = after or before
    assert present is not None
    outcomes = (before.outcome if before else None, after.outcome if after else None)
    message = after.message if after else ""

    def told(change: Change, why: str = "") -> Compared:
        return Compared(key, change, present.level, *outcomes, message, why)

    if before is None:
        return told("not compared", f"not in OLD{_because(old)}")
    if after is None:
        return told("not compared", f"not in NEW{_because(new)}")
    if before.revision != after.revision:
        return told("rule changed", f"revision {before.revision} -> {after.revision}")
    for result, where in ((before, "OLD"), (after, "NEW")):
        if result.outcome in _SILENT and before.outcome != after.outcome:
            return told("not compared", f"{result.outcome} in {where}")
    if before.outcome == after.outcome:
        return told("same")
    step = _RANK[after.outcome] - _RANK[before.outcome]
    if step == 0 and before.outcome in BAD_OUTCOMES:
        return told("same", f"{before.outcome} -> {after.outcome}")
    return told("worse" if step < 0 else "better" if step > 0 else "same")


def _because(report: Report) -> str:
    return "" if report.complete else ", which was cut short"


def _notes(old: Report, new: Report) -> Iterator[str]:
    for report, where in ((old, "OLD"), (new, "NEW")):
        if not report.complete:
            yield f"{where} was cut short: what it lacks is not compared"
    for key in _SETTINGS:
        before, after = old.header.get(key), new.header.get(key)
        if before != after:
            yield f"{key}: {before!r} -> {after!r}{_CONSEQUENCE.get(key, '')}"
    for name in (n for n in new.implementations if n in old.implementations):
        yield from _declared_otherwise(name, old.described(name), new.described(name))


_CASES = "; the cases differ, a change may come of that"
_CONSEQUENCE = {
    "profile": _CASES,
    "mode": _CASES,
    "seed": _CASES,
    "spec_version": f"; sentences may differ, this version knows {SPEC_VERSION}",
}


def _declared_otherwise(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in ("family", "lacks", "promises", "precision", "divergences"):
        if old.get(key) != new.get(key):
            yield f"{name} is declared otherwise: {key} {old.get(key)!r} -> {new.get(key)!r}"
