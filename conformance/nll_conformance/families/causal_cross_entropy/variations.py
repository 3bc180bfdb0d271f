"""What the rules of the family vary: lengths, padding, packing, the first and last column."""

from __future__ import annotations

import math

from ...cases import Draft, Draw
from ...classification import IGNORED, constant_target

PAD = float(IGNORED)


def sequences(draft: Draft, draw: Draw) -> None:
    """Several sequences of several positions, few classes."""
    rows = draw.among((2, 3, 1, 4)), draw.among((3, 2, 4, 5, 9))
    draft.resize(rows, draw.among((3, 2, 5, 7, 10)))


def sequences_that_count(draft: Draft, draw: Draw) -> None:
    """Sequences of which no label is ignored, nor the one after it, whatever the target fixes."""
    sequences(draft, draw)
    fixed = draft.context.fixed.get("ignore_index")
    if isinstance(fixed, int) and 0 <= fixed < draft.classes:
        draft.resize(draft.rows, max(3, draft.classes))
        constant_target(draft, (fixed + 1) % draft.classes)


def long_sequences(draft: Draft, draw: Draw) -> None:
    """Hundreds of positions: around the chunks and blocks of fused losses."""
    length = draw.among((129, 65, 33, 257, 128, 513, 1025))
    draft.resize((draw.among((2, 1, 3)), length), draw.among((3, 5, 2)))


def cube(draft: Draft, draw: Draw) -> None:
    """As many sequences as positions as classes."""
    count = draw.among((3, 2, 4, 5))
    draft.resize((count, count), count)


def one_position(draft: Draft, draw: Draw) -> None:
    """T = 1: nothing is scored."""
    draft.resize((draw.integer(1, 3), 1), draw.among((3, 2, 5)))


def two_positions(draft: Draft, draw: Draw) -> None:
    """T = 2: one position of each sequence is scored."""
    draft.resize((draw.integer(1, 4), 2), draw.among((3, 2, 5)))


def padded(draft: Draft, draw: Draw) -> None:
    """Sequences of different lengths, padded at the end or at the start with -100."""
    rows, length = draft.rows
    left, shift = draw.yes(), draw.integer(1, length - 1)
    for row in range(rows):
        gone = (shift + row) % length
        spots = range(gone) if left else range(length - gone, length)
        draft.edit("target", *(((row, t), PAD) for t in spots))


def padded_whole(draft: Draft, draw: Draw) -> None:
    """One sequence is padding throughout."""
    draft.edit("target", ((draw.integer(0, draft.rows[0] - 1), None), PAD))


def packed(draft: Draft, draw: Draw) -> None:
    """Documents packed into one sequence: the first label of each is ignored."""
    for row in range(draft.rows[0]):
        start = draw.integer(1, draft.rows[1] - 1)
        draft.edit("target", ((row, start), PAD))


def first_labels(draft: Draft, draw: Draw) -> None:
    """The first label of some sequences is ignored, that of the others is not."""
    draft.edit("target", ((draw.integer(0, draft.rows[0] - 1), 0), PAD))


def impossible_first_labels(draft: Draft, draw: Draw) -> None:
    """First labels that are no class: start tokens of another vocabulary."""
    value = draw.among((draft.classes, -1, draft.classes + 7, 2**31))
    draft.edit("target", ((None, 0), float(value)))


def nonfinite_last(draft: Draft, draw: Draw) -> None:
    """The logits behind the last label are NaN or infinite in one sequence."""
    row, bad = draw.integer(0, draft.rows[0] - 1), draw.among((math.nan, math.inf, -math.inf))
    draft.edit("input", ((row, draft.rows[1] - 1, None if draw.yes() else 0), bad))


def telling_labels(draft: Draft, draw: Draw) -> None:
    """Each position favours one class, its neighbours others: any other shift costs more."""
    sequences(draft, draw)
    draft.change("input", regime="levels", scale=1, modulus=4, seed=draw.integer(0, 50))


def shifted_already(draft: Draft, draw: Draw) -> None:
    """Labels one shorter, or one longer, than the logits."""
    rows, length = draft.rows
    draft.change("target", shape=(rows, length + draw.among((-1, 1))))
