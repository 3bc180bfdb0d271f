"""A badge: the JSON that a shields.io endpoint reads."""

from __future__ import annotations

import json

from ..model import BAD_OUTCOMES
from ..report import Report
from .text import counted


def badge(report: Report, label: str = "nll-conformance") -> str:
    """The endpoint's JSON: verdict, and with what it was judged."""
    message, color = _message(report)
    data = {"schemaVersion": 1, "label": label, "message": message, "color": color}
    if color == "red":
        data["isError"] = True
    return json.dumps(data, indent=2) + "\n"


def _message(report: Report) -> tuple[str, str]:
    header = report.header
    scope = f"spec {header.get('spec_version', '?')}, {header.get('profile', '?')}"
    outcomes = [r.outcome for r in report.results]
    if "error" in outcomes:
        return "suite error", "lightgrey"
    bad = {
        (r.implementation, r.rule)
        for r in report.results
        if r.outcome in BAD_OUTCOMES and r.level == "must"
    }
    if bad:
        return f"{counted(len(bad), 'rule')} failing ({scope})", "red"
    if not report.complete:
        return "cut short", "lightgrey"
    if not report.conforms:
        return "not judged", "lightgrey"
    known = outcomes.count("expected_failure")
    if known:
        return f"conforms, {counted(known, 'known failure')} ({scope})", "green"
    return f"conforms ({scope})", "brightgreen"
