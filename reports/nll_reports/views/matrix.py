"""Matrix: implementations x themes, opening to rules; also the facts of each of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nll_conformance.model import OUTCOMES, Rule

from ..analysis import Analysis
from ..frames import Frames, Row
from . import Numbered, short

_FACTS = (
    "family", "version", "declaration", "target", "precision", "capabilities", "lacks",
    "promises", "divergences", "subject_commit", "spec_version", "profile", "torch", "machine",
    "started_at",
)  # fmt: skip
_WORST = ("does not conform", "conforms", "not judged")


def payload(found: Analysis, known: Mapping[str, Rule]) -> dict[str, Any]:
    """Implementations, rules, and the results as columns of numbers."""
    subjects, results = found.subjects, found.results
    names = Numbered((s["implementation"], s["family"]) for s in subjects)
    present = {row["rule"] for row in results}
    levels = {row["rule"]: row["level"] for row in results}
    ids = [rule for rule in known if rule in present]
    rules = Numbered([*ids, *sorted(present - set(ids))])
    dtypes: Numbered[str] = Numbered()
    devices: Numbered[str] = Numbered()
    reasons: Numbered[str] = Numbered([""])
    columns: dict[str, list[Any]] = {key: [] for key in "irdvoneqw"}
    for row in results:
        columns["i"].append(names((row["implementation"], row["family"])))
        columns["r"].append(rules(row["rule"]))
        columns["d"].append(dtypes(row["dtype"]))
        columns["v"].append(devices(row["device"]))
        columns["o"].append(OUTCOMES.index(row["outcome"]))
        columns["n"].append(row["judged"])
        columns["e"].append(short(row["error_over_bound"], 2))
        columns["q"].append(int(row["level"] == "should"))
        judged = row["outcome"] in ("pass", "unexpected_pass")
        columns["w"].append(0 if judged else reasons(row["reason"] or row["message"]))
    return {
        "implementations": [_implementation(row, found.frames) for row in subjects],
        "rules": [_rule(rule, levels[rule], known.get(rule)) for rule in rules.keys],
        "dtypes": dtypes.keys,
        "devices": devices.keys,
        "outcomes": list(OUTCOMES),
        "reasons": reasons.keys,
        "results": columns,
    }


def _implementation(row: Row, frames: Frames) -> dict[str, Any]:
    """What the page of an implementation says; the worst verdict of its runs."""
    table = frames.implementations
    mine = table[
        (table.implementation == row["implementation"])
        & (table.family == row["family"])
        & table.run_id.isin(row["run_ids"])
    ]
    verdicts = set(mine.verdict)
    runs = frames.runs[frames.runs.run_id.isin(row["run_ids"])]
    return {
        "name": row["implementation"],
        **{key: row[key] for key in _FACTS if row[key]},
        "verdict": next(word for word in _WORST if word in verdicts),
        "sentences": sorted(set(mine.sentence)),
        "complete": bool(runs.complete.all()),
    }


def _rule(rule_id: str, level: str, rule: Rule | None) -> dict[str, Any]:
    if rule is None:
        return {"id": rule_id, "level": level, "sentence": "(this version does not know the rule)"}
    return {
        "id": rule_id,
        "level": level,
        "sentence": rule.sentence,
        "source": rule.source,
        "why": rule.why,
        "since": rule.since,
    }
