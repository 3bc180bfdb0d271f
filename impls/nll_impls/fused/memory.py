"""Where a gradient is written: into fresh memory, or again into the same."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: A gradient starts at a multiple of so many bytes, as vectors and cache lines do.
ALIGNMENT = 64


def _tensor(memory: Any, like: Tensor) -> Tensor:
    """Bytes as a contiguous tensor of the shape and dtype of ``like``."""
    return torch.from_numpy(memory).view(like.dtype).view(like.shape)


def _allocate(size: int) -> Any:
    """Aligned bytes.

    NumPy asks for huge pages where the array is large: a page fault every 2 MiB and not every
    4 KiB, which at the sizes of language models costs more than the arithmetic.
    """
    memory: Any = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def fresh(like: Tensor) -> Tensor:
    """A new contiguous tensor of the shape and dtype of ``like``, its entries undefined."""
    return _tensor(_allocate(like.numel() * like.element_size()), like)


class Buffer:
    """Memory for one tensor at a time, kept for the next one.

    A tensor that is still held, or an alias of it, is never written again: then the buffer
    gives it up and takes new memory, as it does where a larger tensor is asked for.
    """

    def __init__(self, memory: Tensor | None = None) -> None:
        if memory is not None and not (memory.is_contiguous() and memory.device.type == "cpu"):
            raise ValueError("the buffer must be a contiguous tensor on the CPU")
        self._memory = np.empty(0, np.uint8) if memory is None else _bytes(memory)
        self._lent: weakref.ref[Any] | None = None
        self._lock = threading.Lock()

    def __call__(self, like: Tensor) -> Tensor:
        """A contiguous tensor of the shape and dtype of ``like``, its entries undefined."""
        size = like.numel() * like.element_size()
        with self._lock:
            held = self._lent is not None and self._lent() is not None
            if held or self._memory.size < size:
                self._memory = _allocate(size)
            # Whatever shares the tensor's memory keeps this view alive, and nothing else does.
            view = self._memory[:size]
            self._lent = weakref.ref(view)
            return _tensor(view, like)


def _bytes(memory: Tensor) -> Any:
    return memory.detach().view(-1).view(torch.uint8).numpy()
