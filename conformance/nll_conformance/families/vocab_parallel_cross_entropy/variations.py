"""What the rules of the family vary: ranks, which shard holds what, the shards' borders."""

from __future__ import annotations

import math

from ...cases import Draft, Draw, Variation
from ...classification import constant_target, place, set_class
from .cases import Split
from .shards import shards


def split_over(*ranks: int) -> Variation:
    """Another number of ranks, where the subject can be asked for it; several full shards."""

    def split(draft: Draft, draw: Draw) -> None:
        if draft.can("ranks"):
            draft.options["ranks"] = draw.among(ranks)
        even_shards(draft, draw)

    return split


def even_shards(draft: Draft, draw: Draw) -> None:
    """Each rank holds as many classes as the others, a few rows."""
    draft.resize((draw.integer(1, 6),), _ranks(draft) * draw.among((2, 1, 3, 5)))


def uneven_shards(draft: Draft, draw: Draw) -> None:
    """The last rank that holds classes holds fewer than the others."""
    if draft.can("ranks"):
        draft.options["ranks"] = draw.among((2, 4, 3))
    ranks, size = _ranks(draft), draw.among((3, 2, 4, 33))
    draft.resize((draw.integer(2, 6),), ranks * size - draw.integer(1, size - 1))


def empty_shards(draft: Draft, draw: Draw) -> None:
    """So few classes that some ranks hold none."""
    if draft.can("ranks"):
        draft.options["ranks"] = draw.among((2, 4))
    draft.resize((draw.integer(1, 4),), draw.integer(1, max(_ranks(draft) - 1, 1)))


def border_targets(draft: Draft, draw: Draw) -> None:
    """Targets are the first and last classes of the shards."""
    draft.resize((draw.integer(2, 6),), _ranks(draft) * draw.among((2, 3, 5)))
    spots = [index for part in _shards(draft) for index in (part[-1], part[0])]
    turn = draw.integer(0, len(spots) - 1)
    for row in range(draft.rows[0]):
        draft.edit("target", (place(draft, row), float(spots[(turn + row) % len(spots)])))


def one_shards_targets(draft: Draft, draw: Draw) -> None:
    """All targets belong to one shard: the other ranks hold none."""
    draft.resize((draw.integer(1, 5),), _ranks(draft) * draw.among((2, 3, 5)))
    parts = _shards(draft)
    part = parts[draw.integer(0, len(parts) - 1)]
    constant_target(draft, part[draw.integer(0, len(part) - 1)])


def one_shards_maximum(draft: Draft, draw: Draw) -> None:
    """One rank's logits lie far above the others', whose exponentials may all underflow."""
    draft.resize((draw.integer(1, 4),), _ranks(draft) * draw.among((2, 3)))
    above = draw.among((30.0, 120.0, 900.0, 8.0))
    parts = _shards(draft)
    high = parts[draw.integer(0, len(parts) - 1)]
    draft.change("input", scale=-3, seed=draw.integer(0, 20))
    set_class(draft, *((j, above + (j - high[0]) / 2) for j in high))


def excluded_shard(draft: Draft, draw: Draw) -> None:
    """All logits of one rank are -inf, as those of a padded vocabulary may be."""
    draft.resize((draw.integer(1, 4),), _ranks(draft) * draw.among((2, 3)))
    parts = _shards(draft)
    gone = draw.among((len(parts) - 1, 0))
    constant_target(draft, parts[gone - 1][draw.integer(0, len(parts[gone - 1]) - 1)])
    set_class(draft, *((j, -math.inf) for j in parts[gone]))


def one_shard(draft: Draft, draw: Draw) -> None:
    """One rank alone holds all classes."""
    draft.options["ranks"] = 1
    draft.resize((draw.integer(1, 5),), draw.among((3, 2, 5, 10)))


def _ranks(draft: Draft) -> int:
    assert isinstance(draft, Split)
    return draft.ranks


def _shards(draft: Draft) -> list[range]:
    return [part for part in shards(draft.classes, _ranks(draft)) if part]
