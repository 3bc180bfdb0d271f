"""Modules whose object keeps of one batch what it needs in the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ._base import Call, Saved, by_hand, counted, cross_entropy, kept, mutant, reduced, row_losses

SOURCE = "buffers that a module makes at its first batch: counts, masks, positions"


class _Module(torch.nn.Module):
    """Options to the constructor, tensors to ``forward``."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "weight": weight,
            "ignore_index": ignore_index,
            "reduction": reduction,
            "label_smoothing": label_smoothing,
        }

    def call(self, input: Tensor, target: Tensor) -> Call:
        return Call(input, target, **self.options)


@mutant(source=SOURCE, caught_by=("reuse.same_object",))
class CountOfTheFirstBatch(_Module):
    """The mean of every batch divides by the rows that counted in the object's first."""

    count: Tensor | None = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        rows = self.call(input, target).rows()
        if self.count is None:
            self.count = counted(rows)
        return reduced(rows, kept(rows, row_losses(rows)), self.count)


@mutant(source=SOURCE, caught_by=("reuse.same_object",))
class MaskOfTheFirstBatch(_Module):
    """Which rows are ignored is asked again of a batch of another shape alone."""

    kept: Tensor | None = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        call = self.call(input, target)
        if call.soft:
            return cross_entropy(call)
        if self.kept is None or self.kept.shape != target.shape:
            self.kept = target != call.ignore_index
        elsewhere = target.clamp(0, input.shape[0 if input.dim() == 1 else 1] - 1)
        target = torch.where(target == call.ignore_index, elsewhere, target)
        return cross_entropy(call.but(target=target.where(self.kept, call.ignore_index)))


@mutant(source=SOURCE, caught_by=("reuse.same_object_interleaved",))
class ProbabilitiesOfTheLastBatch(_Module):
    """Backward reads the probabilities that the object keeps, which are those of its last batch."""

    probabilities: Tensor | None = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        call = self.call(input, target)
        self.probabilities = torch.softmax(call.rows().logits.detach(), dim=-1)

        def derivative(saved: Saved, grad: Tensor) -> Tensor:
            assert self.probabilities is not None
            return replace(saved, probabilities=self.probabilities).gradient(grad)

        return by_hand(call, derivative)


@mutant(
    source="torchtune: a column of ignored labels kept of the first batch",
    caught_by=("reuse.same_object",),
)
class RowsOfTheFirstBatch(_Module):
    """Rows beyond those of the object's first batch do not count."""

    rows: int | None = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        call = self.call(input, target)
        if call.soft or target.dim() == 0:
            return cross_entropy(call)
        if self.rows is None:
            self.rows = len(target)
        place = torch.arange(len(target), device=target.device).view(-1, *[1] * (target.dim() - 1))
        return cross_entropy(call.but(target=target.where(place < self.rows, call.ignore_index)))
