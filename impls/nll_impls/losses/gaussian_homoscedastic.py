"""Homoscedastic Gaussian NLL by hand: variances are shared, precisions multiply."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .elements import floored, reduced, widened


def loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """((input - target)^2 / v + log v) / 2 with v = max(var, eps).

    ``var`` is a number, lacks the input's last dimension, or has the input's rank with any
    dimension of size 1.
    """
    variance = floored(widened(beside(input, var)), eps)
    precision = variance.reciprocal()
    squares = (widened(input) - widened(target)).square()
    losses = (squares * precision - precision.log()) / 2
    if full:
        losses = losses + math.log(2 * math.pi) / 2
    return reduced(losses, reduction, input.dtype)


def beside(input: Tensor, var: Tensor | float) -> Tensor:
    """The variance with as many dimensions as the input, each of its size or of size 1."""
    if not isinstance(var, Tensor):
        return torch.tensor(var, dtype=input.dtype, device=input.device)
    if var.shape == input.shape[:-1] and input.dim():
        return var.unsqueeze(-1)
    sizes = zip(var.shape, input.shape, strict=False)
    if var.dim() != input.dim() or any(own not in (1, size) for own, size in sizes):
        raise ValueError(f"var has shape {tuple(var.shape)}, input {tuple(input.shape)}")
    return var
