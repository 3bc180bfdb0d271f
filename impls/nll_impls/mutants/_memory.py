"""Tensors as those see them who disregard their strides or their width."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import replaced


def storage(tensor: Tensor) -> Tensor:
    """All that lies in the tensor's memory from its first element on, flat."""
    tensor = tensor.detach()
    length = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided((length - tensor.storage_offset(),), (1,))


def read_as_contiguous(tensor: Tensor) -> Tensor:
    """What stands where a contiguous tensor of this shape would have its elements.

    The gradient arrives at the element that should have been read.
    """
    if tensor.is_contiguous() or tensor.numel() == 0:
        return tensor
    memory = storage(tensor)
    places = torch.arange(tensor.numel(), device=tensor.device) % memory.numel()
    return replaced(tensor, memory[places].view(tensor.shape))


def rows_in_32_bits(tensor: Tensor) -> Tensor:
    """A matrix whose rows are looked for at offsets that wrap at 2**31 elements."""
    if tensor.dim() != 2 or tensor.shape[0] < 2 or tensor.stride(0) * tensor.shape[0] < 2**31:
        return tensor
    memory = storage(tensor)
    columns = torch.arange(tensor.shape[1], device=tensor.device) * tensor.stride(1)
    rows = [memory[(i * tensor.stride(0)) % 2**31 + columns] for i in range(tensor.shape[0])]
    return replaced(tensor, torch.stack(rows))
