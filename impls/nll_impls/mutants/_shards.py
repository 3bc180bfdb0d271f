"""A right vocabulary-parallel cross entropy, its ranks simulated, in steps that may be replaced.

Every rank computes from its own shard ``(n, c_r)`` what the others are told, as processes do:
a maximum, a sum of exponentials, the target's logit.  ``n`` are the rows flattened.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from nll_conformance.families.vocab_parallel_cross_entropy.shards import shards

from ..losses.rows import Rows
from . import _mutant
from ._base import kept, reduced, row_losses


@dataclass(frozen=True, eq=False)
class Parallel:
    """The arguments of the call."""

    input: Tensor
    target: Tensor
    weight: Tensor | None = None
    ranks: int = 2
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    def but(self, **changes: Any) -> Self:
        """The same call with other arguments."""
        return replace(self, **changes)

    @property
    def classes(self) -> int:
        """How many classes there are on all ranks together."""
        return self.input.shape[1 if self.input.dim() > 1 else 0]

    @property
    def places(self) -> tuple[range, ...]:
        """The classes of each rank."""
        return shards(self.classes, self.ranks)

    def rows(self) -> Rows:
        """The unsplit call as rows, ignored ones blanked, in at least float32."""
        given = {name: value for name, value in vars(self).items() if name != "ranks"}
        return Rows.of(**given).wide()


parallel_mutant = functools.partial(
    _mutant.mutant,
    family="vocab_parallel_cross_entropy",
    call=Parallel,
    divergences={**_mutant.AS_PYTORCH, "smoothed_over": "all"},
)

#: From the logits of all shards, (*rows, c_r) each, to the logarithm of the sum, (*rows, 1).
LogSum = Callable[[Sequence[Tensor]], Tensor]


def log_sum(parts: Sequence[Tensor]) -> Tensor:
    """One maximum for all, then one sum of all exponentials."""
    top = torch.cat([part.detach() for part in parts], -1).amax(-1, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    total = sum((part - top).exp().sum(-1, keepdim=True) for part in parts)
    assert isinstance(total, Tensor)
    return total.log() + top


def seen_by(call: Parallel, rank: int) -> Rows:
    """The unsplit rows as a rank may differentiate them: in its own classes alone."""
    rows = call.rows()
    place = torch.arange(call.classes, device=call.input.device)
    own = (place >= call.places[rank].start) & (place < call.places[rank].stop)
    return replace(rows, logits=torch.where(own, rows.logits, rows.logits.detach()))


def parts_of(call: Parallel, rows: Rows) -> list[Tensor]:
    """The logits of each rank."""
    return [rows.logits[..., place.start : place.stop] for place in call.places]


def loss_of(call: Parallel, rows: Rows, normaliser: LogSum = log_sum) -> Tensor:
    """The unsplit loss of these rows, reduced."""
    log_probabilities = rows.logits - normaliser(parts_of(call, rows))
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


def on_each(call: Parallel, loss: Callable[[int, Rows], Tensor]) -> Tensor:
    """What each rank returns, stacked."""
    return torch.stack([loss(rank, seen_by(call, rank)) for rank in range(call.ranks)])


def parallel(call: Parallel, normaliser: LogSum = log_sum) -> Tensor:
    """The right losses, or those of another way to the logarithm of the sum."""
    return on_each(call, lambda _, rows: loss_of(call, rows, normaliser))
