"""Poisson NLL by hand: Stirling's term is computed only where it counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .elements import reduced, widened


def loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - y x of log rates x, x - y log(x + eps) of rates x."""
    x, y = widened(input), widened(target)
    losses = x.exp() - y * x if log_input else x - y * (x + eps).log()
    if full:
        losses = losses + stirling(y)
    return reduced(losses, reduction, input.dtype)


def stirling(y: Tensor) -> Tensor:
    """St = y log y - y + log(2 pi y) / 2 where y > 1, else 0, with finite gradients."""
    counts = y > 1
    safe = torch.where(counts, y, 2.0)
    term = safe * safe.log() - safe + (2 * math.pi * safe).log() / 2
    return torch.where(counts, term, 0.0)
