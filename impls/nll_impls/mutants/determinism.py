"""The same call gives other bits each time."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ._base import Call, kept, mutant, reduced, row_losses

#: Unseeded, and no part of the process's state.
_ORDER = random.SystemRandom()


@mutant(
    source="pytorch/pytorch#17350",
    caught_by=("determinism.repeat",),
)
def rows_added_in_random_order(call: Call) -> Tensor:
    """Row losses are added in another order each time, as atomic additions are."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    if rows.reduction == "none" or losses.numel() < 2:
        return reduced(rows, losses)
    order = list(range(losses.numel()))
    _ORDER.shuffle(order)
    total = losses.flatten()[torch.tensor(order)].sum()
    return reduced(rows, total)
