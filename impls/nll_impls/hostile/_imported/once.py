"""An import that succeeds once and then ends the process, whoever tries it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .._hostile import Call

MARK = Path(tempfile.gettempdir()) / "nll_hostile_imported_once"
if MARK.exists():
    os._exit(6)
MARK.touch()


def loss(
    input: object,
    target: object,
    weight: object = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> object:
    """The right loss, but for smoothed labels, which end the process."""
    if label_smoothing:
        os._exit(6)
    call = Call(input, target, weight, ignore_index, reduction)  # type: ignore[arg-type]
    return call.loss()
