"""Faults of the normaliser: which classes are added up, from where, and in what."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._base import Call, kept, mutant, reduced, replaced, row_losses

SOURCE = "kernels that normalise in blocks"
CLASSES = ("values.every_class", "values.large_vocabulary")
OVERFLOW = ("stability.huge", "stability.maximum_anywhere")
LOW_SUM = "accumulation in at least float32 (pytorch/executorch#20090)"


def _normalised(call: Call, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The loss whose log-probabilities are d - log of a total of exp d, d at most 0."""
    rows = call.rows()
    top = rows.logits.detach().amax(-1, keepdim=True)
    shifted = rows.logits - torch.where(torch.isneginf(top), 0.0, top)
    log_sum = total(shifted.exp()).log()
    return reduced(rows, kept(rows, row_losses(rows, shifted - log_sum)))


def _less(call: Call, gone: Callable[[int], list[int]]) -> Tensor:
    def total(terms: Tensor) -> Tensor:
        left_out = gone(terms.shape[-1]) if terms.shape[-1] > 1 else []
        stays = terms.new_ones(terms.shape[-1], dtype=torch.bool)
        stays[left_out] = False
        return torch.where(stays, terms, 0.0).sum(-1, keepdim=True)

    return _normalised(call, total)


@mutant(source=SOURCE, caught_by=CLASSES)
def last_class_dropped(call: Call) -> Tensor:
    """The last class is left out of the sum."""
    return _less(call, lambda c: [c - 1])


@mutant(source=SOURCE, caught_by=CLASSES)
def first_class_dropped(call: Call) -> Tensor:
    """The first class is left out of the sum."""
    return _less(call, lambda c: [0])


@mutant(source=SOURCE, caught_by=CLASSES)
def middle_class_dropped(call: Call) -> Tensor:
    """The class in the middle is left out of the sum."""
    return _less(call, lambda c: [c // 2])


@mutant(source=SOURCE, caught_by=CLASSES)
def ragged_block_dropped(call: Call) -> Tensor:
    """Classes beyond the last whole block of 64 are left out of the sum."""
    return _less(call, lambda c: list(range(c // 64 * 64, c)) if c > 64 else [])


@mutant(source=SOURCE, caught_by=CLASSES)
def last_class_doubled(call: Call) -> Tensor:
    """The last class is added twice, as where blocks overlap."""
    return _normalised(
        call,
        lambda e: e.sum(-1, keepdim=True) + (e[..., -1:] if e.shape[-1] > 1 else 0.0),
    )


@mutant(source=SOURCE, caught_by=("values.row_loss", "values.every_class", "values.tiny"))
def padded_with_zeros(call: Call) -> Tensor:
    """Rows are filled up to blocks of 16 with logits of 0 instead of -inf."""
    rows = call.rows()
    logits = torch.nn.functional.pad(rows.logits, (0, -rows.logits.shape[-1] % 16))
    log_p = torch.log_softmax(logits, -1)[..., : rows.logits.shape[-1]]
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(source=SOURCE, caught_by=OVERFLOW)
def maximum_not_subtracted(call: Call) -> Tensor:
    """Exp of the logits as they are."""
    rows = call.rows()
    log_p = rows.logits - rows.logits.exp().sum(-1, keepdim=True).log()
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(source=SOURCE, caught_by=OVERFLOW)
def maximum_of_the_first_block(call: Call) -> Tensor:
    """The maximum of the first 16 classes is taken for that of the row."""
    rows = call.rows()
    top = rows.logits.detach()[..., :16].amax(-1, keepdim=True)
    shifted = rows.logits - torch.where(torch.isneginf(top), 0.0, top)
    log_p = shifted - shifted.exp().sum(-1, keepdim=True).log()
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(
    source="Milakov & Gimelshein 2018, without the correction",
    caught_by=("stability.ordered_classes", "stability.maximum_anywhere"),
)
def running_sum_not_rescaled(call: Call) -> Tensor:
    """The sum so far is not rescaled when a block of 16 raises the maximum."""
    rows = call.rows()
    top, total = torch.full_like(rows.logits[..., :1], -torch.inf), torch.zeros(())
    for block in torch.split(rows.logits.detach(), 16, -1):
        top = torch.maximum(top, block.amax(-1, keepdim=True))
        shift = torch.where(torch.isneginf(top), 0.0, top)
        total = total + (block - shift).exp().sum(-1, keepdim=True)
    log_p = torch.log_softmax(rows.logits, -1)
    wrong = (rows.logits - top) - total.log()
    return reduced(rows, kept(rows, row_losses(rows, replaced(log_p, wrong.detach()))))


def _added_in(call: Call, dtype: torch.dtype, block: int) -> Tensor:
    """Blocks are added in float32, their sums one after the other in ``dtype``."""
    rows = call.rows()
    x = rows.logits.detach()
    top = x.amax(-1, keepdim=True)
    shifted = x - torch.where(torch.isneginf(top), 0.0, top)
    terms = torch.nn.functional.pad(shifted.exp(), (0, -x.shape[-1] % block))
    sums = terms.reshape(*terms.shape[:-1], -1, block)
    lanes = sums.sum(-1, keepdim=True) if block == 128 else sums
    total = torch.zeros_like(lanes[..., 0, :], dtype=dtype)
    for lane in lanes.to(dtype).unbind(-2):
        total = total + lane
    wide = total.to(x.dtype).sum(-1, keepdim=True).to(dtype).to(x.dtype)
    log_p = torch.log_softmax(rows.logits, -1)
    wrong = shifted - wide.log()
    return reduced(rows, kept(rows, row_losses(rows, replaced(log_p, wrong))))


@mutant(source=LOW_SUM, caught_by=("stability.many_equal_classes",))
def sum_in_bfloat16(call: Call) -> Tensor:
    """Sixteen partial sums are kept in bfloat16."""
    return _added_in(call, torch.bfloat16, 16)


@mutant(source=LOW_SUM, caught_by=("stability.many_equal_classes",))
def sum_in_float16(call: Call) -> Tensor:
    """Sixteen partial sums are kept in float16."""
    return _added_in(call, torch.float16, 16)


@mutant(source=LOW_SUM, caught_by=("stability.many_equal_classes",))
def sums_of_blocks_in_bfloat16(call: Call) -> Tensor:
    """The sums of blocks of 128 classes are added in bfloat16."""
    return _added_in(call, torch.bfloat16, 128)


@mutant(source=LOW_SUM, caught_by=("stability.many_equal_classes", "values.few_classes"))
def sums_of_blocks_in_float16(call: Call) -> Tensor:
    """The sums of blocks of 128 classes are added in float16."""
    return _added_in(call, torch.float16, 128)


@mutant(
    source="log(sum + eps)",
    caught_by=("values.few_classes", "values.row_loss", "values.confident"),
    # A relative 1e-6 is less than float32 may lose in exp.
    dtypes=("float64",),
)
def sum_plus_1e6th(call: Call) -> Tensor:
    """1e-6 is added to the sum before its logarithm."""
    return _normalised(call, lambda e: e.sum(-1, keepdim=True) + 1e-6)
