"""Heteroscedastic Gaussian NLL by hand: a variance for each element, standardised residuals."""

from __future__ import annotations

import math

from torch import Tensor

from .elements import floored, reduced, widened


def loss(
    input: Tensor,
    target: Tensor,
    var: Tensor,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + ((input - target) / sqrt v)^2) / 2 with v = max(var, eps); one shape for all."""
    if var.shape != input.shape:
        raise ValueError(f"var has shape {tuple(var.shape)}, input {tuple(input.shape)}")
    variance = floored(widened(var), eps)
    standardised = (widened(input) - widened(target)) / variance.sqrt()
    losses = (variance.log() + standardised.square()) / 2
    if full:
        losses = losses + math.log(2 * math.pi) / 2
    return reduced(losses, reduction, input.dtype)
