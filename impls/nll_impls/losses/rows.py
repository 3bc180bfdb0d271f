"""What every cross entropy does beside its technique: shapes, weights, reductions.

The conventions are those of ``torch.nn.functional.cross_entropy``.  ``c`` is the number of
classes, ``*rows`` the shape of the predictions: ``()``, ``(n,)`` or ``(n, d1, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

REDUCTIONS = ("none", "sum", "mean")
_HALF = (torch.float16, torch.bfloat16)


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it has 16 bits, else unchanged."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def scaled(coefficient: Tensor, nll: Tensor) -> Tensor:
    """``coefficient * nll``, where nothing times infinity is nothing.

    The infinite entry is replaced before the product, so that no NaN arises in the
    gradient either.
    """
    nothing = (coefficient == 0) & torch.isinf(nll)
    return coefficient * torch.where(nothing, 0.0, nll)


@dataclass(frozen=True)
class Rows:
    """A cross entropy to be computed: classes last, ignored rows blanked.

    Blanking an ignored row (logits and probabilities 0) keeps whatever stands there out of
    the loss and makes its gradient exactly zero.
    """

    logits: Tensor  #: (*rows, c)
    target: Tensor  #: (*rows) int64, 0 where ignored; or (*rows, c) probabilities
    kept: Tensor  #: (*rows) bool
    weight: Tensor | None  #: (c,)
    reduction: str
    label_smoothing: float
    dtype: torch.dtype  #: of the result

    @classmethod
    def of(
        cls,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        mask: Tensor | None = None,
        *,
        blank: bool = True,
    ) -> Rows:
        """The rows of a call; ValueError or TypeError if the call makes no sense.

        Indices outside ``[0, c)`` that are not ignored raise where they are looked up.
        Logits that are not blanked stay as they are, in whatever memory they have.
        """
        logits, target = checked(input, target, weight, ignore_index, reduction, label_smoothing)
        if target.is_floating_point():
            kept = torch.ones(target.shape[:-1], dtype=torch.bool, device=target.device)
        else:
            kept = target != ignore_index
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != kept.shape:
                raise ValueError(f"mask must be boolean of shape {tuple(kept.shape)}")
            kept = kept & mask
        if blank:
            logits = torch.where(kept.unsqueeze(-1), logits, 0.0)
        keep = kept.unsqueeze(-1) if target.is_floating_point() else kept
        target = torch.where(keep, target, 0)
        return cls(logits, target, kept, weight, reduction, label_smoothing, input.dtype)

    @property
    def soft(self) -> bool:
        """Whether the target holds class probabilities."""
        return self.target.is_floating_point()

    def wide(self) -> Rows:
        """The same rows with 16-bit tensors in float32; the result's dtype stays."""
        return replace(
            self,
            logits=widened(self.logits),
            target=widened(self.target),
            weight=None if self.weight is None else widened(self.weight),
        )

    def with_logits(self, logits: Tensor) -> Rows:
        """The same rows with these logits (*rows, c), 16-bit ones in float32."""
        return replace(self, logits=widened(logits))

    def split(self, size: int) -> Iterator[Rows]:
        """The rows in their order, at most ``size`` at a time, flattened."""
        depth = self.kept.dim()
        flat = (
            tensor.reshape(-1, *tensor.shape[depth:])
            for tensor in (self.logits, self.target, self.kept)
        )
        chunks = (torch.split(tensor, size) for tensor in flat)
        for logits, target, kept in zip(*chunks, strict=True):
            yield replace(self, logits=logits, target=target, kept=kept)

    def at_target(self, values: Tensor) -> Tensor:
        """The entry of ``values`` (*rows, c) that the target names: (*rows, 1)."""
        if self.soft:
            raise TypeError("this loss takes class indices, not class probabilities")
        return values.gather(-1, self.target.unsqueeze(-1))

    def distribution(self) -> Tensor:
        """The target distribution, one-hot or as given, smoothed: (*rows, c)."""
        if self.soft:
            hot = self.target
        else:
            blank = torch.zeros_like(self.logits)
            hot = blank.scatter(-1, self.target.unsqueeze(-1), 1.0)
        if self.label_smoothing == 0.0:
            return hot
        even = self.label_smoothing / self.logits.shape[-1]
        return (1.0 - self.label_smoothing) * hot + even

    def expected(self, nll: Tensor) -> Tensor:
        """Weighted mean of ``nll`` (*rows, c) under the target distribution: (*rows)."""
        share = self.distribution()
        if self.weight is not None:
            share = share * self.weight
        return scaled(share, nll).sum(-1)

    def losses(self, values: Tensor, nll: Callable[[Tensor], Tensor]) -> Tensor:
        """Row losses (*rows), where ``nll`` makes a loss of each of ``values`` (*rows, c).

        Looks only at the target's entry unless smoothing or probabilities ask for all.
        """
        if self.soft or self.label_smoothing == 1.0:
            return self.expected(nll(values))
        losses = nll(self.at_target(values)).squeeze(-1)
        if self.weight is not None:
            losses = scaled(self.of_targets(self.weight), losses)
        if self.label_smoothing == 0.0:
            return losses
        everywhere = nll(values)
        if self.weight is not None:
            everywhere = scaled(self.weight, everywhere)
        even = self.label_smoothing / values.shape[-1]
        return (1.0 - self.label_smoothing) * losses + even * everywhere.sum(-1)

    def reduced(self, losses: Tensor) -> Tensor:
        """The result of the call, from row losses; sums are kept in at least float32."""
        losses = torch.where(self.kept, losses, 0.0)
        if self.reduction == "none":
            return losses.to(self.dtype)
        total = widened(losses).sum()
        return (total if self.reduction == "sum" else total / self._counted()).to(self.dtype)

    def _counted(self) -> Tensor:
        """What ``mean`` divides by: the kept rows, weighted if they have class indices."""
        if self.weight is None or self.soft:
            return self.kept.sum()
        return torch.where(self.kept, self.of_targets(widened(self.weight)), 0.0).sum()

    def of_targets(self, weight: Tensor) -> Tensor:
        """The weight (*rows) of each row's class; indexing by one number fails under vmap."""
        return weight.gather(0, self.target.reshape(-1)).reshape(self.target.shape)


def checked(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Logits and target of a call, classes last; ValueError or TypeError if it makes no sense.

    The target is int64 (*rows), its range unchecked, or probabilities (*rows, c).
    """
    if not input.is_floating_point():
        raise TypeError(f"input must be a floating tensor, not {input.dtype}")
    if input.dim() == 0:
        raise ValueError("input needs a class dimension: (C,), (N, C) or (N, C, d1, ...)")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, not {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1], not {label_smoothing}")
    logits = classes_last(input)
    if weight is not None and weight.shape != logits.shape[-1:]:
        raise ValueError(f"weight has shape {tuple(weight.shape)} for {logits.shape[-1]} classes")
    if target.is_floating_point():
        return logits, _probabilities(input, target, ignore_index)
    return logits, _indices(logits, target)


def classes_last(tensor: Tensor) -> Tensor:
    """A view (*rows, c) of a tensor (c,), (n, c) or (n, c, d1, ...)."""
    return tensor.movedim(0 if tensor.dim() == 1 else 1, -1)


def _probabilities(input: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    if target.shape != input.shape:
        raise ValueError(
            f"class probabilities have the input's shape {tuple(input.shape)}, "
            f"not {tuple(target.shape)}; class indices are int64 or uint8"
        )
    if ignore_index >= 0:
        raise ValueError("ignore_index does not apply to class probabilities")
    return classes_last(target)


def _indices(logits: Tensor, target: Tensor) -> Tensor:
    if target.dtype not in (torch.int64, torch.uint8):
        raise TypeError(f"class indices are int64 or uint8, not {target.dtype}")
    if target.shape != logits.shape[:-1]:
        raise ValueError(
            f"target has shape {tuple(target.shape)} for rows {tuple(logits.shape[:-1])}"
        )
    return target.long()
