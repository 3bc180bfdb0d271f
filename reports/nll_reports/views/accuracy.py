"""Accuracy: the error on the fixed accuracy set, in condition units, with its letter."""

from __future__ import annotations

from typing import Any

from nll_conformance.accuracy import LETTERS

from ..frames import Frames, Row, rows_of
from . import Numbered, short


def payload(frames: Frames, subjects: list[Row]) -> dict[str, Any]:
    """A row for each implementation, dtype and device that was measured."""
    names = Numbered((s["implementation"], s["family"]) for s in subjects)
    newest = {
        (run_id, row["implementation"], row["family"]): order
        for row in subjects
        for order, run_id in enumerate(row["run_ids"])
    }
    best: dict[tuple[Any, ...], tuple[int, Row]] = {}
    for row in rows_of(frames.accuracy):
        order = newest.get((row["run_id"], row["implementation"], row["family"]))
        key = (row["implementation"], row["family"], row["dtype"], row["device"])
        if order is not None and (key not in best or order < best[key][0]):
            best[key] = (order, row)
    return {
        "letters": [list(item) for item in LETTERS],
        "rows": [
            [
                names((row["implementation"], row["family"])),
                row["dtype"],
                row["device"],
                short(row["error_units"], 3),
                row["letter"],
            ]
            for _, row in best.values()
        ],
    }
