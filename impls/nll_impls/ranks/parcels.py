"""Tensors as bytes, on their way to another process and back."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

#: A strided tensor travels with what lies between its elements up to this many times its size.
SPAN = 8


@dataclass(frozen=True)
class Parcel:
    """A tensor's numbers, shape and strides; what a view skips travels along."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, tensor: Tensor) -> Parcel:
        """What is needed to make an equal tensor elsewhere."""
        tensor = tensor.detach().resolve_neg()  # memory says nothing of a pending sign
        if not tensor.is_contiguous():
            span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            if tensor.numel() and span <= SPAN * tensor.numel():
                flat = tensor.as_strided((span,), (1,))
                return cls(_name(tensor), tuple(tensor.shape), tensor.stride(), _bytes(flat))
            tensor = tensor.contiguous()
        return cls(_name(tensor), tuple(tensor.shape), tensor.stride(), _bytes(tensor))

    def open(self) -> Tensor:
        """A tensor of its own memory."""
        dtype = getattr(torch, self.dtype)
        if not self.data:
            return torch.empty(self.shape, dtype=dtype)
        flat = torch.frombuffer(bytearray(self.data), dtype=dtype)
        return flat.as_strided(self.shape, self.stride)


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes(tensor: Tensor) -> bytes:
    if not tensor.numel():
        return b""
    return ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())
