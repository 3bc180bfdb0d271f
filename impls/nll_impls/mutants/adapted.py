"""What losses of other packages were found to do, each modelled on the package named."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import (
    Call,
    Saved,
    by_hand,
    cross_entropy,
    mutant,
    replaced,
    row_losses,
)
from ._memory import read_as_contiguous


@mutant(
    source="liger-kernel 0.8.5, ops/cross_entropy.py",
    caught_by=("layout.input", "layout.spatial_input"),
)
def copy_needs_no_gradient(call: Call) -> Tensor:
    """Logits that are not contiguous are copied, and the copy asked whether it needs a gradient."""
    if call.input.is_contiguous():
        return cross_entropy(call)

    def derivative(saved: Saved, _: Tensor) -> Tensor:
        return saved.probabilities.log()  # the logits, but for a constant

    return by_hand(call, derivative)


@mutant(
    source="flash-attn 2.8.3, ops/triton/cross_entropy.py",
    caught_by=("layout.target",),
)
def labels_read_as_contiguous(call: Call) -> Tensor:
    """Labels are read with a stride of one, logits by their own."""
    return cross_entropy(call.but(target=read_as_contiguous(call.target)))


@mutant(
    source="keras 3.15.1, losses/loss.py (keras-team/keras#15014)",
    caught_by=("dtypes.high_targets", "values.large_vocabulary", "stability.maximum_anywhere"),
)
def labels_in_the_dtype_of_the_loss(call: Call) -> Tensor:
    """Class indices go through the dtype of the logits: bfloat16 rounds those above 256."""
    rows = call.rows()
    if rows.soft or not rows.logits.shape[-1]:
        return cross_entropy(call)
    row_losses(rows)  # an index out of range is refused, as ever
    index = rows.target.to(call.input.dtype).long().clamp(max=rows.logits.shape[-1] - 1)
    return cross_entropy(call.but(target=torch.where(rows.kept, index, call.target.long())))


@mutant(
    source="torch 2.13.0, distributed/tensor/parallel/loss.py",
    caught_by=("ignore_index.with_weight",),
)
def weight_of_ignored_looked_up_in_backward(call: Call) -> Tensor:
    """Backward looks up the weights of ignored targets, too: out of bounds."""
    if call.weight is None or call.soft:
        return cross_entropy(call)
    weight, target = call.weight, call.target.long()

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        weight.gather(0, target.reshape(-1))
        return saved.gradient(grad)

    return by_hand(call, derivative)


@mutant(
    source="megatron-core 0.16.1, tensor_parallel/cross_entropy.py",
    caught_by=("side_effects.inputs",),
)
def only_half_is_copied(call: Call) -> Tensor:
    """``float()`` copies 16-bit logits alone: those of float32 become their probabilities."""
    loss = cross_entropy(call.but(input=replaced(call.input, call.input.detach().clone())))
    if call.input.dtype == torch.float32 and call.input.is_contiguous():
        axis = 0 if call.input.dim() == 1 else 1
        data = call.input.detach()
        data.copy_(data.softmax(axis))
    return loss
