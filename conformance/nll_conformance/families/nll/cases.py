"""The plain call: a few rows of log-probabilities, class indices, all defaults."""

from __future__ import annotations

import math

from ...cases import MAX_FINITE, Context, Draft, Draw
from ...classification import fit, sized
from ...picked_cases import others, own_target, set_column
from ...recipes import TensorRecipe
from ..cross_entropy.cases import PROBES

__all__ = ["PROBES", "plain"]

#: Scattered values reach 4 * 2**-1: the plain log-probabilities lie in [-4.3, -0.3].  The
#: offset is no dyadic number, so that their last bits are not zeros: a detour through a
#: narrower dtype shows.
SCALE, OFFSET = -1, -2.3


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with scattered negative numbers, every class a possible target."""
    rows, classes = draw.integer(1, 5), draw.among((3, 2, 5, 7, 10))
    return Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "scatter",
                (rows, classes),
                context.dtype,
                scale=SCALE,
                offset=OFFSET,
                seed=draw.integer(0, 99),
                grad="gradient" in context.capabilities,
            ),
            "target": TensorRecipe(
                "levels", (rows,), "int64", modulus=classes, seed=draw.integer(0, 99)
            ),
        },
        rows=(rows,),
        fit=fit,
        classes=classes,
    )


def any_magnitude(draft: Draft, draw: Draw) -> None:
    """Numbers from subnormal to thousands, of both signs."""
    sized(draft, draw)
    scale = draw.among((-1, 8, -8, 12, -13, 3, -24, -130))
    offset = 2.0**scale / 3  # not dyadic, either
    draft.change("input", scale=scale, offset=offset, seed=draw.integer(0, 50))


def not_normalised(draft: Draft, draw: Draw) -> None:
    """Rows whose exponentials sum to far less, or far more, than one."""
    sized(draft, draw)
    offset = draw.among((-20.0, -3.0, 2.0, -90.0, 6.0, -300.0))
    draft.change("input", offset=offset, seed=draw.integer(0, 50))


def positive(draft: Draft, draw: Draw) -> None:
    """Logarithms of densities: all positive, or of both signs."""
    sized(draft, draw)
    offset = draw.among((2.5, 0.0, 5.0, 100.0, 700.0))
    draft.change("input", offset=offset, seed=draw.integer(0, 50))


def far_below(draft: Draft, draw: Draw) -> None:
    """The target's log-probability lies far below what a clamp would leave."""
    sized(draft, draw)
    depth = draw.among((150.0, 20.0, 30.0, 1000.0, 50.0, 103.0, 20000.0, 750.0, 1e30))
    spot = own_target(draft, draw)
    set_column(draft, spot, -min(depth, MAX_FINITE[draft.context.dtype] / 4))


def impossible_elsewhere(draft: Draft, draw: Draw) -> None:
    """Other classes at -inf: one, or all of them."""
    sized(draft, draw, classes=(3, 2, 5, 10, 33))
    spot = own_target(draft, draw)
    gone = others(draft, spot)
    if draw.yes():
        gone = [draw.among(gone)]
    for index in gone:
        set_column(draft, index, -math.inf)


def unread_elsewhere(draft: Draft, draw: Draw) -> None:
    """Other classes hold NaN, +inf or the largest number."""
    sized(draft, draw, classes=(3, 2, 5, 10))
    spot = own_target(draft, draw)
    bad = draw.among((math.nan, math.inf, MAX_FINITE[draft.context.dtype]))
    for index in others(draft, spot):
        set_column(draft, index, bad)


def impossible_target(draft: Draft, draw: Draw) -> None:
    """The log-probability of the target is -inf, in every row or in one."""
    sized(draft, draw, classes=(3, 2, 5))
    spot = own_target(draft, draw)
    if draw.yes():
        draft.edit("input", ((draw.integer(0, draft.rows[0] - 1), spot), -math.inf))
    else:
        set_column(draft, spot, -math.inf)
