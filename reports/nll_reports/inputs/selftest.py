"""The suite on trial: ``selftest --json``, with or without ``--matrix``."""

from __future__ import annotations

import hashlib
from typing import Any

from nll_conformance.errors import UsageError

from ..frames import Row, Rows
from . import Source, name, number, optional, text


def claims(source: Source) -> bool:
    """Whether this is a trial."""
    return isinstance(source.document, dict) and source.document.get("kind") == "selftest"


def read(source: Source) -> Rows:
    """The trial: its score, how each mutant and variant came out, and who caught what."""
    trial = source.document
    mutants, variants = trial.get("mutants"), trial.get("variants")
    if not isinstance(mutants, list) or not isinstance(variants, list):
        raise UsageError(f"{source.path}: a self-test without lists of mutants and variants.")
    run_id = name(trial.get("run_id") or digest(source.data))
    found: Rows = {
        "runs": [run(source, run_id, "selftest")],
        "trials": [
            {
                "run_id": run_id,
                "caught": sum(_status(item) == "caught" for item in mutants),
                "mutants": sum(_status(item) != "not asked" for item in mutants),
                "false_alarms": sum(_status(item) == "flagged" for item in variants),
                "variants": len(variants),
                "matrix": bool(trial.get("matrix")),
            }
        ],
        "mutants": [
            *(_verdict(run_id, "mutant", item) for item in mutants),
            *(_verdict(run_id, "variant", item) for item in variants),
        ],
    }
    alone = trial.get("alone") if isinstance(trial.get("alone"), dict) else {}
    singles = {(rule, mutant) for rule, names in alone.items() for mutant in names}
    found["kills"] = [
        {
            "run_id": run_id,
            "name": name(item["name"]),
            "rule": name(rule),
            "alone": (rule, item["name"]) in singles,
        }
        for item in mutants
        for rule in item.get("caught", ())
    ]
    return found


def digest(data: bytes) -> str:
    """An id for what has none: equal for equal bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def run(source: Source, run_id: str, kind: str) -> Row:
    """The run of a document that says about itself what it says."""
    said = source.document if isinstance(source.document, dict) else {}
    return {
        "run_id": run_id,
        "kind": kind,
        "source": str(source.path),
        "complete": True,
        "started_at": optional(said.get("started_at")),
        "seconds": number(said.get("seconds")),
        "suite_version": optional(said.get("suite_version")),
        "suite_commit": optional(said.get("suite_commit")),
        "subject_commit": optional(said.get("suite_commit")),
        "machine": optional(said.get("machine")),
        "profile": optional(said.get("profile")),
        "seed": optional(said.get("seed")),
        "recalled": False,
    }


def _status(item: Any) -> str:
    return str(item.get("status")) if isinstance(item, dict) else ""


def _verdict(run_id: str, kind: str, item: dict[str, Any]) -> Row:
    return {
        "run_id": run_id,
        "kind": kind,
        **{key: name(item.get(key, "")) for key in ("name", "family", "status", "rule", "dtype")},
        "cases": item.get("cases", 0),
        "seconds": number(item.get("seconds")),
        "message": text(item.get("message")),
    }
