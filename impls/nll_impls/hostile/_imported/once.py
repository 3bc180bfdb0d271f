"""An import that ends the process the second time that it is tried."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .._hostile import Call

TRIED = Path(tempfile.gettempdir()) / "nll_hostile_imported"
with TRIED.open("a") as tries:
    tries.write("x")
if TRIED.stat().st_size == 2:
    os._exit(6)


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
