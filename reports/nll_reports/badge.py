"""A badge for the whole site: the JSON that a shields.io endpoint reads."""

from __future__ import annotations

import json

from .frames import Frames, Row


def badge(frames: Frames, subjects: list[Row], label: str = "nll-conformance") -> str:
    """How many implementations conform; green only if all that were judged do."""
    message, color = _message(frames, subjects)
    data = {"schemaVersion": 1, "label": label, "message": message, "color": color}
    return json.dumps(data, indent=2) + "\n"


def _message(frames: Frames, subjects: list[Row]) -> tuple[str, str]:
    verdicts = [row["verdict"] for row in subjects]
    run_ids = {run_id for row in subjects for run_id in row["run_ids"]}
    mine = frames.runs[frames.runs.run_id.isin(run_ids)]
    bad = verdicts.count("does not conform")
    judged = bad + verdicts.count("conforms")
    if not judged:
        return "not judged", "lightgrey"
    if bad:
        return f"{bad} of {judged} failing", "red"
    if not mine.complete.all():
        return "cut short", "lightgrey"
    if judged == 1:
        return "conforms", "brightgreen"
    return f"{judged} of {judged} conform", "brightgreen"
