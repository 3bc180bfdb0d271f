"""Losses of other array libraries as nodes of a torch graph, by way of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

#: From an upstream gradient to the input's, both NumPy arrays.
Pullback: TypeAlias = Callable[[Any], Any]


def with_pullback(input: Tensor, call: Callable[[Any], tuple[Any, Pullback]]) -> Any:
    """``call`` of the input as an array: its value, differentiable by its pullback."""
    import torch

    class Bridged(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor) -> Tensor:
            value, ctx.pullback = call(to_numpy(given))
            return from_numpy(value, given)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            return from_numpy(ctx.pullback(to_numpy(upstream)), upstream)

    bridged: Any = Bridged
    return bridged.apply(input)


def to_numpy(tensor: Tensor) -> Any:
    """A NumPy array of the tensor's dtype, in memory of its own; bfloat16 is ml_dtypes'.

    The caller may change the tensor before backward.
    """
    import torch

    tensor = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def from_numpy(array: Any, like: Tensor) -> Tensor:
    """A tensor of the array's values and dtype, on the device of ``like``."""
    import numpy as np
    import torch

    array = np.array(array)  # a copy: what a library returns may be read-only
    if array.dtype.name == "bfloat16":
        made = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    else:
        made = torch.from_numpy(array)
    return made.to(like.device)
