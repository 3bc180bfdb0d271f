"""Rows are left out by arithmetic, which what they hold gets through."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..losses.rows import Rows
from . import _mutant
from ._base import Call, cross_entropy, kept, mutant, reduced, row_losses


@dataclass(frozen=True, eq=False)
class MaskedCall(Call):
    """The arguments of a cross entropy of padded sequences."""

    mask: Tensor | None = None


masked_mutant = functools.partial(_mutant.mutant, family="cross_entropy", call=MaskedCall)


def _as_they_are(call: Call, rows: Rows) -> Rows:
    """The same rows with what stands in those that are left out."""
    return replace(rows, logits=call.logits())


def _but_ignored(call: MaskedCall, rows: Rows) -> Tensor:
    """(*rows, c): logits of counted and of masked rows as they are, of ignored ones blank."""
    assert call.mask is not None
    return torch.where((rows.kept | ~call.mask).unsqueeze(-1), call.logits(), 0.0)


@mutant(
    source="NVIDIA-NeMo/Megatron-Bridge#3117",
    caught_by=("ignore_index.nonfinite_loss",),
)
def ignored_multiplied_by_zero(call: Call) -> Tensor:
    """The losses of ignored rows are multiplied by 0, which NaN survives."""
    rows = call.rows()
    losses = row_losses(_as_they_are(call, rows))
    return reduced(rows, losses * rows.kept)


@masked_mutant(
    source="NVIDIA-NeMo/Megatron-Bridge#3117",
    caught_by=("mask.nonfinite",),
)
def masked_multiplied_by_zero(call: MaskedCall) -> Tensor:
    """The losses of masked rows are multiplied by 0, which NaN survives."""
    rows = call.rows()
    if call.mask is None:
        return cross_entropy(call)
    rows = replace(rows, logits=_but_ignored(call, rows))
    return reduced(rows, row_losses(rows) * rows.kept)


@mutant(
    source="pytorch/pytorch#11551",
    caught_by=("ignore_index.nonfinite_gradient",),
)
def masked_after_softmax(call: Call) -> Tensor:
    """Ignored rows are taken out after the softmax, whose backward makes NaN of 0 times NaN."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(_as_they_are(call, rows))))


@masked_mutant(
    source="google-deepmind/optax#1335",
    caught_by=("mask.zero_gradient", "mask.rows", "mask.positions"),
)
def masked_rows_at_minus_infinity(call: MaskedCall) -> Tensor:
    """-inf is added to masked rows before the softmax, whose backward makes NaN of it."""
    rows = call.rows()
    if call.mask is None:
        return cross_entropy(call)
    logits = _but_ignored(call, rows) + torch.where(call.mask, 0.0, -torch.inf).unsqueeze(-1)
    return reduced(rows, kept(rows, row_losses(replace(rows, logits=logits))))


@masked_mutant(
    source="huggingface/trl#1625",
    caught_by=("mask.rows", "mask.positions", "mask.zero_gradient"),
)
def padding_scored(call: MaskedCall) -> Tensor:
    """The mask is accepted and not looked at: padding is scored."""
    return cross_entropy(replace(call, mask=None))
