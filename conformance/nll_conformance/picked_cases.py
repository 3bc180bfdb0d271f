"""Variations for families whose loss reads one entry of each row (:mod:`.picked`)."""

from __future__ import annotations

import math

from .cases import Draft, Draw, Variation
from .classification import constant_target, sized

#: Class counts beyond what int8, uint8, float16 (2048), bfloat16 (256) and int16 can count.
COUNTS = (3, 17, 300, 129, 2051, 257, 4099, 33000, 70001)


def column(draft: Draft, index: int) -> tuple[int | None, ...]:
    """The index of one class in every row."""
    return (None, index) if len(draft.tensors["input"].shape) > 1 else (index,)


def set_column(draft: Draft, index: int, value: float) -> None:
    """One class has this number in every row."""
    draft.edit("input", (column(draft, index), value))


def others(draft: Draft, index: int) -> list[int]:
    """Every class but this one."""
    return [i for i in range(draft.classes) if i != index]


def every_target(value: float) -> Variation:
    """The target is any class of few or many, its entry ``value``, its neighbours' are not."""

    def anywhere(draft: Draft, draw: Draw) -> None:
        sized(draft, draw, rows=2, classes=COUNTS)
        last = draft.classes - 1
        spots = {last, 0, draft.classes // 2, min(last, 256), min(last, 2049)}
        spot = draw.among(sorted(spots, reverse=True))
        set_column(draft, spot, value)
        constant_target(draft, spot)

    return anywhere


def own_target(draft: Draft, draw: Draw) -> int:
    """One class that all rows have for their target."""
    spot = draw.integer(0, draft.classes - 1)
    constant_target(draft, spot)
    return spot


def unknown_target(draft: Draft, draw: Draw) -> None:
    """The entry of one row's target is NaN."""
    sized(draft, draw, classes=(3, 2, 5))
    spot = own_target(draft, draw)
    draft.edit("input", ((draw.integer(0, draft.rows[0] - 1), spot), math.nan))


def as_long_as_classes(draft: Draft, draw: Draw) -> None:
    """(N, C, L), (N, C, L, M): the last dimension has as many entries as there are classes."""
    classes = draw.among((3, 2, 4, 5))
    rows = draw.among(((2, classes), (1, classes), (2, 3, classes), (classes, classes)))
    draft.resize(rows, classes)
