"""A right causal cross entropy in steps, each of which a mutant may replace by a wrong one.

``(b, t, v)`` are the logits, ``(b, t)`` the labels, shifted inside.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..losses.rows import Rows
from . import _mutant
from ._base import kept, reduced, row_losses


@dataclass(frozen=True, eq=False)
class Causal:
    """The arguments of the call."""

    input: Tensor
    target: Tensor
    ignore_index: int = -100

    def but(self, **changes: Any) -> Self:
        """The same call with other arguments."""
        return replace(self, **changes)

    def shifted(self) -> tuple[Tensor, Tensor]:
        """Logits (b, t - 1, v) and the labels (b, t - 1) that follow them."""
        if self.target.shape != self.input.shape[:-1]:
            raise ValueError("logits and labels differ in shape")
        return self.input[:, :-1], self.target[:, 1:]

    def rows(self) -> Rows:
        """The scored positions as rows (b, t - 1), ignored ones blanked."""
        return rows_of(self, *self.shifted())


causal_mutant = functools.partial(_mutant.mutant, family="causal_cross_entropy", call=Causal)


def rows_of(call: Causal, logits: Tensor, labels: Tensor) -> Rows:
    """Rows of logits (b, n, v) that are scored against labels (b, n)."""
    moved = logits.movedim(-1, 1)
    return Rows.of(moved, labels, ignore_index=call.ignore_index).wide()


def losses(rows: Rows) -> Tensor:
    """(b, n): the loss of each position, 0 where that is ignored."""
    return kept(rows, row_losses(rows))


def mean(rows: Rows, count: Tensor | int | None = None) -> Tensor:
    """The mean over the scored positions."""
    return reduced(rows, losses(rows), count)


def causal(call: Causal) -> Tensor:
    """The right loss."""
    return mean(call.rows())


def scored(call: Causal, labels: Tensor) -> Tensor:
    """How many of these labels are not ignored."""
    return (labels != call.ignore_index).sum()


def blank_scored(call: Causal) -> Tensor:
    """(b, t): the labels, none of them ignored: padding is class 0."""
    return torch.where(call.target == call.ignore_index, 0, call.target)
