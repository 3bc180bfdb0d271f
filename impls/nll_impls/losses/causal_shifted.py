"""Logits without their last position against labels without their first."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def loss(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Mean cross entropy of logits (b, t, v) against the labels (b, t) one step ahead."""
    if target.shape != input.shape[:-1]:
        raise ValueError(
            f"labels have shape {tuple(target.shape)} for positions {tuple(input.shape[:-1])}"
        )
    logits, labels = input[:, :-1], target[:, 1:]
    return functional.cross_entropy(
        logits.reshape(-1, input.shape[-1]), labels.reshape(-1), ignore_index=ignore_index
    )
