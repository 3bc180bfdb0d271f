"""Which rank holds which classes."""

from __future__ import annotations


def shards(classes: int, ranks: int) -> tuple[range, ...]:
    """The classes of each rank: as ``torch.chunk`` and DTensor split, equal but for the last.

    Each holds ``ceil(classes / ranks)`` of them, in order, as long as there are any.
    """
    size = -(-classes // ranks)
    starts = (min(rank * size, classes) for rank in range(ranks))
    return tuple(range(start, min(start + size, classes)) for start in starts)


def fitting(classes: int, ranks: int, *, uneven: bool, empty: bool) -> int:
    """The least number of classes from ``classes`` on whose shards are as they may be.

    ``uneven``: the last may hold fewer than the others; ``empty``: some may hold none.
    """
    while not ((uneven or classes % ranks == 0) and (empty or len(shards(classes, ranks)[-1]) > 0)):
        classes += 1
    return classes
