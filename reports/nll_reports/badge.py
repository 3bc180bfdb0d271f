"""A badge for the whole site: the JSON that a shields.io endpoint reads."""

from __future__ import annotations

import json

from .analysis import Analysis


def badge(found: Analysis, label: str = "nll-conformance") -> str:
    """How many implementations conform; green only if all that were judged do."""
    message, color = _message(found)
    data = {"schemaVersion": 1, "label": label, "message": message, "color": color}
    return json.dumps(data, indent=2) + "\n"


def _message(found: Analysis) -> tuple[str, str]:
    verdicts = [row["verdict"] for row in found.subjects]
    run_ids = {run_id for row in found.subjects for run_id in row["run_ids"]}
    bad = verdicts.count("does not conform")
    judged = bad + verdicts.count("conforms")
    if not judged:
        return "not judged", "lightgrey"
    if bad:
        return f"{bad} of {judged} failing", "red"
    if not all(found.runs[run_id]["complete"] for run_id in run_ids):
        return "cut short", "lightgrey"
    if judged == 1:
        return "conforms", "brightgreen"
    return f"{judged} of {judged} conform", "brightgreen"
