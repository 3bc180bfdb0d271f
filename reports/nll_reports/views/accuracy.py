"""Accuracy: the error on the fixed accuracy set, in condition units, with its letter."""

from __future__ import annotations

from typing import Any

from nll_conformance.accuracy import LETTERS

from ..analysis import Analysis
from . import Numbered, short


def payload(found: Analysis) -> dict[str, Any]:
    """A row for each implementation, dtype and device that was measured."""
    names = Numbered((s["implementation"], s["family"]) for s in found.subjects)
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
            for row in found.accuracy
        ],
    }
