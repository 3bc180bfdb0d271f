"""What the element-wise losses by hand share: the compute dtype and the reduction."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """In float32 at least: 16 bits are for storage."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def reduced(losses: Tensor, reduction: str, dtype: torch.dtype) -> Tensor:
    """The losses of the elements, their sum or their mean over all of them, in ``dtype``."""
    if reduction == "none":
        return losses.to(dtype)
    if reduction == "sum":
        return losses.sum().to(dtype)
    if reduction == "mean":
        return losses.mean().to(dtype)
    raise ValueError(f"{reduction!r} is not a valid value for reduction")


def floored(var: Tensor, eps: float) -> Tensor:
    """max(var, eps) with the gradient of the floored value handed through to ``var``."""
    if bool((var < 0).any()):
        raise ValueError("var has negative entries")
    lifted = var.clone()
    with torch.no_grad():
        lifted.clamp_(min=eps)
    return lifted
