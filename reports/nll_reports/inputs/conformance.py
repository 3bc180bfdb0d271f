"""Conformance results, the JSON Lines of ``check --json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nll_conformance.accuracy import letter
from nll_conformance.causes import NOT_JUDGED, causes
from nll_conformance.model import Result
from nll_conformance.render.summary import replay
from nll_conformance.report import Report
from nll_conformance.results import read as read_report
from nll_conformance.results import tame

from ..frames import Row, Rows
from . import Source, name, optional

#: The rule whose error is an implementation's accuracy.
ACCURACY_RULE = "values.accuracy_set"


def claims(source: Source) -> bool:
    """Whether this is a results file, of whatever schema."""
    document = source.document
    return (
        source.lines and isinstance(document, dict) and document.get("kind") in ("header", "result")
    ) and "rounds" not in document


def read(source: Source) -> Rows:
    """The rows of one run."""
    report = read_report(source.path)
    run = _run(source, report)
    run_id = run["run_id"]
    found: Rows = {"runs": [run], "results": [], "accuracy": []}
    cause = _causes(report)
    for result in report.results:
        row = _result(run_id, result)
        row["cause"] = cause.get(result.key)
        if result.reproducer:
            row["replay"] = replay(report, tame(result), str(source.path))
        found["results"].append(row)
        if result.rule == ACCURACY_RULE and result.error_units is not None:
            keys = ("run_id", "implementation", "family", "dtype", "device", "error_units")
            grade = letter(result.error_units)
            found["accuracy"].append({**{key: row[key] for key in keys}, "letter": grade})
    found["implementations"] = [_described(run_id, report, item) for item in report.implementations]
    found["outcomes"] = outcomes(found["results"])
    if not report.complete:
        text = f"The run was cut short after {len(report.results)} results; what it has is shown."
        found["notices"] = [{"source": str(source.path), "text": text}]
    return found


def outcomes(results: list[Row]) -> list[Row]:
    """The results without their details: the rules by outcome."""
    keys = ("run_id", "implementation", "family", "dtype", "device", "outcome")
    folded: dict[tuple[Any, ...], list[str]] = {}
    for row in results:
        folded.setdefault(tuple(row[key] for key in keys), []).append(row["rule"])
    return [
        {**dict(zip(keys, values, strict=True)), "rules": " ".join(rules)}
        for values, rules in folded.items()
    ]


def _run(source: Source, report: Report) -> Row:
    header, footer = report.header, report.footer or {}
    environment = header.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    words = ("suite_version", "spec_version", "suite_commit", "subject_commit", "machine")
    rules = header.get("rules")
    return {
        "run_id": name(header.get("run_id") or source.path.name),
        "kind": "results",
        "source": str(source.path),
        "complete": report.complete,
        "started_at": optional(header.get("started_at")),
        "seconds": footer.get("seconds"),
        **{word: optional(header.get(word)) for word in (*words, "profile", "mode")},
        "seed": optional(header.get("seed")),
        "rules": " ".join(map(name, rules)) if isinstance(rules, list) else "",
        "torch": optional(environment.get("torch")),
        "processor": optional(environment.get("processor")),
        "threads": optional(environment.get("threads")),
        "recalled": False,
    }


def _result(run_id: str, result: Result) -> Row:
    safe = tame(result)
    return {
        "run_id": run_id,
        "theme": safe.rule.partition(".")[0],
        "replay": "",
        **vars(safe),
    }


def _causes(report: Report) -> dict[tuple[str, ...], int]:
    """Number of the cause, by the key of each bad result."""
    return {
        result.key: number
        for number, cause in enumerate(causes(report.results))
        for result in cause.results
    }


def _described(run_id: str, report: Report, implementation: str) -> Row:
    described = report.described(implementation)
    results = report.of(implementation)
    counts = Counter(result.outcome for result in results)
    bad = Counter(r.level for r in results if r.outcome in ("fail", "crash", "timeout"))
    divergences = {
        **_mapping(described.get("divergences_seen")),
        **_mapping(described.get("divergences")),
    }
    family = described.get("family") or (results[0].family if results else "unknown")
    return {
        "run_id": run_id,
        "implementation": name(implementation),
        "family": name(family),
        "version": optional(described.get("version")),
        "declaration": optional(described.get("declaration")),
        "target": optional(described.get("target")),
        "precision": optional(described.get("precision")),
        **{
            key: " ".join(map(name, described.get(key) or ()))
            for key in ("capabilities", "lacks", "promises")
        },
        "divergences": " ".join(f"{key}={value}" for key, value in divergences.items()),
        "verdict": report.verdict(implementation),
        "sentence": name(report.conformance_sentence(implementation)),
        "passed": counts["pass"] + counts["unexpected_pass"],
        "failed": bad["must"],
        "failed_should": bad["should"],
        "known": counts["expected_failure"],
        "unjudged": sum(counts[outcome] for outcome in NOT_JUDGED),
    }


def _mapping(value: Any) -> dict[str, str]:
    items = value.items() if isinstance(value, dict) else ()
    return {name(key): name(item) for key, item in items}
