"""``torch.log`` followed by ``nll_loss``: how probabilities are fed to PyTorch.

Wrong by design where another class has probability 0: the logarithm of every class is
taken, and its gradient there is 0/0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """NLL of probabilities (C,), (N, C) or (N, C, d1, ...)."""
    return F.nll_loss(torch.log(input), target, weight, None, ignore_index, None, reduction)
