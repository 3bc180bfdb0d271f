"""The sum of exponentials, added up in every order."""

from __future__ import annotations

import torch
from torch import Tensor

from ._declare import variant
from ._engine import Engine, by_hand


def _summed_by(total: object) -> Engine:
    """Shift, exponentiate, add up as told, divide."""
    assert callable(total)

    def engine(x: Tensor) -> tuple[Tensor, Tensor]:
        shifted = x - x.amax(1, keepdim=True)
        terms = shifted.exp()
        s = total(terms)
        return shifted - s.log(), terms / s

    return engine


def _in_order(terms: Tensor, order: Tensor) -> Tensor:
    columns = terms.t().contiguous()
    s = torch.zeros_like(columns[0])
    for j in order.tolist():
        s = s + columns[j]
    return s.unsqueeze(1)


def _first_to_last(terms: Tensor) -> Tensor:
    return _in_order(terms, torch.arange(terms.shape[1]))


def _last_to_first(terms: Tensor) -> Tensor:
    return _in_order(terms, torch.arange(terms.shape[1] - 1, -1, -1))


def _shuffled(terms: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(terms.shape[1])
    return _in_order(terms, torch.randperm(terms.shape[1], generator=generator))


def _by_halves(terms: Tensor) -> Tensor:
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        pairs = terms[:, :half] + terms[:, half : 2 * half]
        terms = torch.cat([pairs, terms[:, 2 * half :]], 1)
    return terms


def _random_tree(terms: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    while terms.shape[1] > 1:
        terms = terms[:, torch.randperm(terms.shape[1], generator=generator)]
        half = terms.shape[1] // 2
        terms = torch.cat([terms[:, :half] + terms[:, half : 2 * half], terms[:, 2 * half :]], 1)
    return terms


def _smallest_first(terms: Tensor) -> Tensor:
    return _first_to_last(terms.sort(1).values)


def _compensated(terms: Tensor) -> Tensor:
    columns = terms.t().contiguous()
    s, lost = torch.zeros_like(columns[0]), torch.zeros_like(columns[0])
    for column in columns:
        addend = column - lost
        new = s + addend
        lost = (new - s) - addend
        s = new
    return s.unsqueeze(1)


def _by_matrix_product(terms: Tensor) -> Tensor:
    with torch.autocast(terms.device.type, enabled=False):
        return terms @ terms.new_ones(terms.shape[1], 1)


_DRIFTING = torch.Generator().manual_seed(1)


def _never_the_same(terms: Tensor) -> Tensor:
    return _in_order(terms, torch.randperm(terms.shape[1], generator=_DRIFTING))


sequential = by_hand(_summed_by(_first_to_last))
reverse = by_hand(_summed_by(_last_to_first))
permuted = by_hand(_summed_by(_shuffled))
pairwise = by_hand(_summed_by(_by_halves))
random_tree = by_hand(_summed_by(_random_tree))
sorted_classes = by_hand(_summed_by(_smallest_first))
kahan = by_hand(_summed_by(_compensated))
matrix_product = by_hand(_summed_by(_by_matrix_product))
never_the_same = by_hand(_summed_by(_never_the_same))

#: A step in Python for each class.
LOOP = 6000

IMPLEMENTATIONS = (
    variant(__name__, "sequential", max_elements=LOOP, promises=("deterministic",)),
    variant(__name__, "reverse", max_elements=LOOP),
    variant(__name__, "permuted", max_elements=LOOP),
    variant(__name__, "pairwise"),
    variant(__name__, "random_tree"),
    variant(__name__, "sorted_classes", max_elements=LOOP),
    variant(__name__, "kahan", max_elements=LOOP),
    variant(__name__, "matrix_product"),
    # Another order at each call, as atomic additions have: no two calls agree in all bits.
    variant(__name__, "never_the_same", max_elements=LOOP, lacks=("deterministic",)),
)
