"""Everything at once, after every rule that varies one thing."""

from __future__ import annotations

from ..cases import Draft, Draw, any_reduction, laid_out, mixed_upstream, vary
from ..classification import (
    ignored,
    masked,
    odd_rows,
    several_rows,
    smoothed,
    soft,
    spatial,
    unbatched,
    weighted,
)
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement
from ..observe import Caller
from ._families import CLASSES


def _everything(draft: Draft, draw: Draw) -> None:
    shapes = [several_rows, odd_rows]
    shapes += [spatial, spatial] if draft.can("spatial") else []
    shapes += [unbatched] if draft.can("unbatched") else []
    draw.among(shapes)(draft, draw)
    # Bugs hide where several options meet, so each is more often on than off.
    if draft.can("weight") and draw.integer(0, 3):
        weighted(draft, draw)
    if draft.can("label_smoothing") and draw.integer(0, 3):
        smoothed()(draft, draw)
    if draft.can("mask") and draw.yes():
        masked(draft, draw)
    if draft.can("soft_target") and draw.integer(0, 3) == 3:
        soft(draft, draw)
    elif draft.can("ignore_index") and draw.integer(0, 3):
        ignored(-100, -1, 255, 0)(draft, draw)
    any_reduction(draft, draw)
    mixed_upstream(draft, draw)
    laid_out("input", "contiguous", "transposed", "padded", "strided")(draft, draw)


@rule(
    "must",
    cases=vary(_everything),
    source="every option of the call may be combined with every other",
    families=CLASSES,
    share=2.0,
)
def all_options(case: Case, call: Caller) -> Judgement:
    """All options together, on any shape and layout, give the exact loss and gradient."""
    yield from agrees(call(case))
