"""Memory is read as if every tensor were dense and small."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Call, Saved, by_hand, cross_entropy, mutant, replaced


def _storage(tensor: Tensor) -> Tensor:
    """All that lies in the tensor's memory from its first element on, flat."""
    tensor = tensor.detach()
    length = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided((length - tensor.storage_offset(),), (1,))


@mutant(
    source="Dao-AILab/flash-attention@c79de85f",
    caught_by=("layout.far_rows",),
)
def row_offsets_in_32_bits(call: Call) -> Tensor:
    """The offset of a row wraps at 2**31 elements."""
    input = call.input
    if input.dim() != 2 or input.shape[0] < 2 or input.stride(0) * input.shape[0] < 2**31:
        return cross_entropy(call)
    memory, columns = _storage(input), torch.arange(input.shape[1]) * input.stride(1)
    rows = [memory[(i * input.stride(0)) % 2**31 + columns] for i in range(input.shape[0])]
    return cross_entropy(call.but(input=replaced(input, torch.stack(rows))))


@mutant(
    source="fla-org/flash-linear-attention@0fd3c681",
    caught_by=("layout.input", "layout.spatial_input"),
)
def logits_read_as_contiguous(call: Call) -> Tensor:
    """Logits are read with the strides of a contiguous tensor of their shape."""
    input = call.input
    if input.is_contiguous() or input.numel() == 0:
        return cross_entropy(call)
    memory = _storage(input)
    places = torch.arange(input.numel()) % memory.numel()
    return cross_entropy(call.but(input=replaced(input, memory[places].view(input.shape))))


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
            dense = torch.zeros(grad.shape, dtype=grad.dtype)
            dense.view(-1)[0] = grad.flatten()[0]
            grad = dense
        return saved.gradient(grad)

    return by_hand(call, derivative)
