"""Variations of what values logits have: near each other, far apart, huge, excluded."""

from __future__ import annotations

import math

from .cases import MAX_FINITE, Draft, Draw, Variation, class_column
from .classification import constant_target, set_class, several_rows, sized


def near_uniform(*classes: int) -> Variation:
    """Equal or nearly equal logits over many classes: what a 16-bit sum cannot count."""

    def uniform(draft: Draft, draw: Draw) -> None:
        sized(draft, draw, rows=2, classes=classes)
        regime = draw.among(("constant", "levels"))
        draft.change(draft.logits, regime=regime, scale=-4, modulus=3, seed=draw.integer(0, 9))

    return uniform


def wrong_target(draft: Draft, draw: Draw) -> None:
    """The target lies far below the maximum: epsilons, clamps and underflow show."""
    sized(draft, draw, classes=(2, 3, 5, 10, 33))
    gap = draw.among((25.0, 40.0, 150.0, 17.0, 60.0, 100.0, 1000.0, 20000.0))
    spot = draw.integer(0, draft.classes - 1)
    draft.change(draft.logits, scale=-2, seed=draw.integer(0, 20))
    set_class(draft, (spot, -gap))
    constant_target(draft, spot)


def confident_target(draft: Draft, draw: Draw) -> None:
    """The target has nearly all the mass: the loss is small, its relative accuracy at stake."""
    sized(draft, draw, classes=(2, 3, 5, 10))
    spot = draw.integer(0, draft.classes - 1)
    draft.change(draft.logits, scale=draw.among((-2, -4)), seed=draw.integer(0, 20))
    set_class(draft, (spot, draw.integer(8, 40) / 2.0))
    if draw.integer(0, 3):
        constant_target(draft, spot)


def huge_logits(draft: Draft, draw: Draw) -> None:
    """Magnitudes up to the largest that every correct formula stands, both signs."""
    sized(draft, draw, classes=(3, 2, 5, 10, 65))
    # Scattered values reach 4 * 2**scale; 2**16 is half the range of float16.
    draft.change(draft.logits, scale=draw.among((5, 8, 12, 13, 10)), seed=draw.integer(0, 50))


def float64_logits(draft: Draft, draw: Draw) -> None:
    """Magnitudes at which float32 has lost all digits that tell classes apart, or has ended."""
    sized(draft, draw, classes=(3, 2, 5))
    draft.change(
        draft.logits,
        scale=draw.among((40, 130, 33)),
        offset=draw.among((2.0**12 + 1 / 3, -(2.0**30))),
        seed=draw.integer(0, 50),
    )


def tiny_logits(draft: Draft, draw: Draw) -> None:
    """Magnitudes down to subnormal: all classes are equally likely."""
    sized(draft, draw, classes=(2, 3, 10))
    draft.change(draft.logits, scale=draw.among((-10, -14, -24, -130)), seed=draw.integer(0, 20))


def ramped(draft: Draft, draw: Draw) -> None:
    """Classes in ascending or descending order: a running maximum moves at every step."""
    sized(draft, draw, rows=2, classes=(10, 33, 65, 129, 257))
    draft.change(draft.logits, regime="ramp", scale=draw.among((0, 1, -2, 3)))
    if draw.yes():  # descending: the highest class first
        span = draft.classes * 2.0 ** draft.tensors[draft.logits].scale
        set_class(draft, (0, span))


def block_maximum(draft: Draft, draw: Draw) -> None:
    """The maximum sits in the last block, or the first, far above the rest."""
    sized(draft, draw, rows=2, classes=(5, 17, 33, 65, 129, 1025))
    draft.change(draft.logits, scale=-1, seed=draw.integer(0, 20))
    spot = draw.among((draft.classes - 1, 0, draft.classes // 2))
    set_class(draft, (spot, draw.among((100.0, 400.0, 30.0))))


def offset_logits(offset: float) -> Variation:
    """A common offset, which cancels in exact arithmetic."""

    def move(draft: Draft, draw: Draw) -> None:
        sized(draft, draw, classes=(3, 2, 5, 10, 33))
        limit = MAX_FINITE[draft.context.dtype] / 2
        draft.change(draft.logits, offset=max(-limit, min(limit, offset)), seed=draw.integer(0, 20))

    return move


#: From where exp overflows to where only the differences of logits are left, and beyond.
COMMON_OFFSETS = tuple(
    map(offset_logits, (37.3, -37.3, 1e3, -1e3, 3e4, -3e4, 88.0, -1e5, -88.0, 1e5, -1e6))
)


def far_below(draft: Draft, draw: Draw) -> None:
    """All logits of a row below what stands for -inf in many a loss.

    Not below -1.5e9: exp2(x log2 e - m log2 e) in one rounding, which is right of logits that
    have digits left, overflows there.
    """
    value = draw.among((-5e8, -6e4, -1e8))
    value = max(value, -0.9 * MAX_FINITE[draft.context.dtype])
    sized(draft, draw, classes=(3, 65, 2, 10, 1030))
    draft.change(draft.logits, offset=value, seed=draw.integer(0, 20))


def masked_classes(draft: Draft, draw: Draw) -> None:
    """Non-target classes at -inf: one, several in a row, all of a leading or trailing block."""
    sized(draft, draw, classes=(5, 3, 10, 17, 33, 65, 2))
    count = draft.classes
    keep = draw.integer(0, count - 1)
    kinds = ("one", "before", "after", "all others")
    kind = draw.among(kinds)
    if kind == "one":
        gone = [(keep + 1 + draw.integer(0, count - 2)) % count]
    elif kind == "before":
        gone = list(range(keep))
    elif kind == "after":
        gone = list(range(keep + 1, count))
    else:
        gone = [i for i in range(count) if i != keep]
    constant_target(draft, keep)
    set_class(draft, *((i, -math.inf) for i in gone))
    draft.change(draft.logits, offset=draw.among((0.0, -1e3, 1e3)))


def masked_blocks(classes: int, *, leading: bool = True) -> Variation:
    """All classes below the target's, or all above it, at -inf: whole blocks of a kernel."""

    def apply(draft: Draft, draw: Draw) -> None:
        sized(draft, draw, rows=2, classes=(classes,))
        count = draft.classes
        after = draw.among((0, 5, count // 9))
        keep = count - 1 - after if leading else after
        constant_target(draft, keep)
        gone = (0, keep) if leading else (keep + 1, count)
        draft.edit("input", *class_column(draft, gone, -math.inf))
        draft.change(draft.logits, offset=draw.among((0.0, -1e3)))

    return apply


def lowest_classes(draft: Draft, draw: Draw) -> None:
    """Some non-target classes at the dtype's lowest finite number, or at a usual stand-in."""
    sized(draft, draw, classes=(5, 3, 10, 17, 33, 2))
    count = draft.classes
    keep = draw.integer(0, count - 1)
    lowest = -MAX_FINITE[draft.context.dtype]
    value = draw.among([lowest, max(lowest, -1e9), -1e4, lowest / 2])
    gone = draw.among([range(keep), range(keep + 1, count), [(keep + 1) % count]])
    constant_target(draft, keep)
    set_class(draft, *((i, value) for i in gone))


def nan_row(draft: Draft, draw: Draw) -> None:
    """One logit of one row is NaN; in one case of three among more classes than a block holds."""
    several_rows(draft, draw)
    if draw.integer(0, 2) == 2:
        draft.resize((draft.rows[0],), draw.among((1030, 2051, 4099)))
    row = draw.integer(0, draft.rows[0] - 1)
    draft.edit(draft.logits, ((row, draw.integer(0, draft.classes - 1)), math.nan))


def excluded_target(draft: Draft, draw: Draw) -> None:
    """The target's own logit is -inf: the loss is infinite."""
    sized(draft, draw, classes=(3, 2, 5))
    spot = draw.integer(0, draft.classes - 1)
    constant_target(draft, spot)
    set_class(draft, (spot, -math.inf))


def excluded_row(draft: Draft, draw: Draw) -> None:
    """The target's own logit is -inf in one row, and what is reduced from it infinite."""
    sized(draft, draw, classes=(3, 2, 5))
    spot = draw.integer(0, draft.classes - 1)
    constant_target(draft, spot)
    row = draw.integer(0, draft.rows[0] - 1)
    draft.edit(draft.logits, ((row, spot), -math.inf))


def loss_scaled(draft: Draft, draw: Draw) -> None:
    """A prediction so sure that float16 has other classes' gradients only once they are scaled."""
    sized(draft, draw, classes=(3, 5, 2))
    spot = draw.integer(0, draft.classes - 1)
    draft.change(draft.logits, scale=-4, seed=draw.integer(0, 20))
    set_class(draft, (spot, draw.among((17.0, 15.0, 18.0))))
    constant_target(draft, spot)
    draft.upstream = {"offset": draw.among((2.0**15, 2.0**14))}
