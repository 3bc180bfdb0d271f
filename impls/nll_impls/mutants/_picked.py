"""Right losses that pick the target's entry, in steps that a mutant may replace.

``nll`` negates log-probabilities, ``prob_nll`` takes the logarithm of probabilities.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..losses.prob_gather import counted
from ..losses.rows import Rows, widened
from . import _base, _mutant


@dataclass(frozen=True, eq=False)
class Picked:
    """The arguments of either call."""

    input: Tensor
    target: Tensor
    weight: Tensor | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    mask: Tensor | None = None

    def but(self, **changes: Any) -> Self:
        """The same call with other arguments."""
        return replace(self, **changes)

    def rows(self) -> Rows:
        """The call as rows of class indices, ignored ones blanked, in at least float32."""
        if self.target.is_floating_point():
            raise TypeError("class indices are int64 or uint8")
        return Rows.of(**vars(self)).wide()

    def entries(self) -> Tensor:
        """(*rows, c) in at least float32; what stands in ignored rows stays."""
        return widened(self.input).movedim(0 if self.input.dim() == 1 else 1, -1)


nll_mutant = functools.partial(_mutant.mutant, family="nll", call=Picked)
prob_mutant = functools.partial(_mutant.mutant, family="prob_nll", call=Picked)

Cost = Callable[[Tensor], Tensor]


def cost_of(rows: Rows, cost: Cost, entries: Tensor | None = None) -> Tensor:
    """(*rows): the weighted ``cost`` of each target's entry."""
    return rows.losses(rows.logits if entries is None else entries, cost)


def reduced(rows: Rows, losses: Tensor, count: Tensor | int | None = None) -> Tensor:
    """The result of the call, from the losses of all rows."""
    return _base.reduced(rows, _base.kept(rows, losses), count)


def nll(call: Picked) -> Tensor:
    """The right NLL of log-probabilities."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, torch.neg))


def prob_nll(call: Picked) -> Tensor:
    """The right NLL of probabilities."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, log_cost(rows)))


def log_cost(rows: Rows, of: Cost = lambda p: -torch.log(p)) -> Cost:
    """``of`` the entries that count, and 1 where a row does not."""
    return lambda p: of(counted(rows, p))


def narrowed(call: Picked, dtype: torch.dtype) -> Picked:
    """The call with counted class indices that went through another dtype and back."""
    rows = call.rows()
    classes = rows.logits.shape[-1]
    if not classes:
        return call
    rows.at_target(rows.logits)  # an index out of range is refused, as ever
    index = rows.target.to(dtype).long() % classes
    return call.but(target=torch.where(rows.kept, index, call.target.long()))


def square_turned(call: Picked) -> Picked:
    """Classes in the last dimension, where that is as long as theirs."""
    if call.input.dim() < 3 or call.input.shape[1] != call.input.shape[-1]:
        return call
    return call.but(input=call.input.transpose(1, -1))
