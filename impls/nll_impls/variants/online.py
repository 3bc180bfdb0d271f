"""One pass over the classes with a running maximum, in blocks of every size."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ._declare import variant
from ._engine import Engine, by_hand, finite

Sizes = Callable[[int], list[int]]


def _random_sizes(classes: int) -> list[int]:
    """Blocks of 1 to 200 classes, the same for the same number of classes."""
    generator = torch.Generator().manual_seed(classes)
    sizes: list[int] = []
    while sum(sizes) < classes:
        drawn = int(torch.randint(1, 201, (), generator=generator))
        sizes.append(min(drawn, classes - sum(sizes)))
    return sizes


def _ones(classes: int) -> list[int]:
    return [1] * classes


def _forwards(blocks: tuple[Tensor, ...]) -> Iterable[Tensor]:
    return blocks


def _online(
    sizes: Sizes, order: Callable[[tuple[Tensor, ...]], Iterable[Tensor]] = _forwards
) -> Engine:
    def engine(x: Tensor) -> tuple[Tensor, Tensor]:
        top = torch.full_like(x[:, :1], -torch.inf)
        s = torch.zeros_like(top)
        for block in order(torch.split(x, sizes(x.shape[1]), 1)):
            higher = torch.maximum(top, block.amax(1, keepdim=True))
            shift = finite(higher)
            s = s * (top - shift).exp() + (block - shift).exp().sum(1, keepdim=True)
            top = higher
        return (x - top) - s.log(), (x - top).exp() / s

    return engine


online_random_blocks = by_hand(_online(_random_sizes))
online_single_classes = by_hand(_online(_ones))
online_backwards = by_hand(_online(_random_sizes, reversed))

IMPLEMENTATIONS = (
    variant(__name__, "online_random_blocks"),
    variant(__name__, "online_single_classes", max_elements=3000),
    variant(__name__, "online_backwards"),
)
