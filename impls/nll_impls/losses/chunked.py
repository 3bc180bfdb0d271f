"""A few rows at a time, so that only a chunk of the logits is ever widened."""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import Rows

#: Small enough that ordinary inputs take several chunks.
ROWS = 16


def _losses(rows: Rows) -> Tensor:
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    return rows.losses(log_probabilities, torch.neg)


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of chunks of rows, reduced once over all of them."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing)
    chunks = [_losses(chunk.wide()) for chunk in rows.split(ROWS)]
    return rows.reduced(torch.cat(chunks).reshape(rows.kept.shape))
