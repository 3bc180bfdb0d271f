"""Memory is read as if every tensor were dense and small."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import (
    Call,
    Saved,
    altered,
    by_hand,
    cross_entropy,
    kept,
    mutant,
    reduced,
    row_losses,
)
from ._memory import read_as_contiguous, rows_in_32_bits


@mutant(
    source="Dao-AILab/flash-attention@c79de85f",
    caught_by=("layout.far_rows",),
)
def row_offsets_in_32_bits(call: Call) -> Tensor:
    """The offset of a row wraps at 2**31 elements."""
    return cross_entropy(call.but(input=rows_in_32_bits(call.input)))


@mutant(
    source="fla-org/flash-linear-attention@0fd3c681",
    caught_by=("layout.input", "layout.spatial_input"),
)
def logits_read_as_contiguous(call: Call) -> Tensor:
    """Logits are read with the strides of a contiguous tensor of their shape."""
    return cross_entropy(call.but(input=read_as_contiguous(call.input)))


@mutant(
    source="unslothai/unsloth-zoo#591",
    caught_by=("layout.input", "layout.spatial_input"),
)
def logits_flattened_by_view(call: Call) -> Tensor:
    """Logits are flattened with view, which refuses what is not contiguous."""
    return cross_entropy(call.but(input=call.input.view(-1).view(call.input.shape)))


@mutant(
    source="Dao-AILab/quack@3e97238",
    caught_by=("gradients.upstream_expanded",),
)
def upstream_read_as_dense(call: Call) -> Tensor:
    """An expanded upstream gradient is read as dense memory: only its first element is there."""

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        if grad.numel() > 1 and set(grad.stride()) == {0}:
            dense = grad.new_zeros(grad.shape)
            dense.view(-1)[0] = grad.flatten()[0]
            grad = dense
        return saved.gradient(grad)

    return by_hand(call, derivative)


@mutant(
    source="kernels that are given a tensor's storage and not its data pointer",
    caught_by=("gradients.upstream_scale",),
)
def upstream_read_from_the_storages_start(call: Call) -> Tensor:
    """Of a scalar upstream gradient the first element of its storage is read, wherever it lies."""

    def from_start(grad: Tensor) -> Tensor:
        return grad.as_strided((), (), 0) if grad.dim() == 0 else grad

    return altered(cross_entropy(call), from_start)


@mutant(
    source="kernels that take data_ptr(): torch.Tensor.is_neg",
    caught_by=("layout.lazily_negated",),
)
def pending_sign_overlooked(call: Call) -> Tensor:
    """Memory is read as it is, where a view says that its numbers are negated."""
    return cross_entropy(call.but(input=-call.input) if call.input.is_neg() else call)


@mutant(
    source="vectorised loops whose first, unaligned part is forgotten",
    caught_by=("layout.unaligned_vocabulary",),
)
def classes_before_the_first_vector_left_out(call: Call) -> Tensor:
    """Of wide unaligned rows the classes before the first 16 bytes are not in the denominator."""
    first = -call.input.data_ptr() % 16 // call.input.element_size()
    if call.input.dim() != 2 or call.soft or call.input.shape[1] <= 1024 or not first:
        return cross_entropy(call)
    rows = call.rows()
    whole = rows.logits[:, first:].logsumexp(-1, keepdim=True)
    return reduced(rows, kept(rows, row_losses(rows, rows.logits - whole)))


@mutant(
    source="grids of a GPU: 65535 blocks in the second and third dimension",
    caught_by=("shapes.vast_images",),
)
def grid_ends_at_65535(call: Call) -> Tensor:
    """Positions of an image beyond the 65535th get no gradient."""
    size = call.input[0, 0].numel() if call.input.dim() > 2 and call.input.numel() else 0
    if size <= 65535:
        return cross_entropy(call)
    flat = call.input.flatten(2)
    cut = torch.cat([flat[..., :65535], flat[..., 65535:].detach()], -1)
    return cross_entropy(call.but(input=cut.view(call.input.shape)))


@mutant(
    source="torch.empty_strided with the strides of windows",
    caught_by=("layout.overlapping_rows",),
)
def gradient_in_overlapping_memory(call: Call) -> Tensor:
    """The gradient is written with the strides of the logits, whose rows overlap."""
    input = call.input
    if input.dim() != 2 or input.shape[0] < 2 or not 0 < input.stride(0) < input.shape[1]:
        return cross_entropy(call)

    def overlapping(grad: Tensor) -> Tensor:
        return torch.empty_strided(input.shape, input.stride(), dtype=grad.dtype).copy_(grad)

    return cross_entropy(call.but(input=altered(input, overlapping)))
