"""Padded sequences: a boolean mask says which rows count, beside ``ignore_index``."""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import Rows


def loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Cross entropy of the rows where ``mask``, boolean of shape (*rows), is true.

    Each row's loss is rounded to the input's dtype before the rows are summed, as if it
    had been asked for with ``reduction="none"``.
    """
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing, mask)
    wide = rows.wide()
    log_probabilities = torch.log_softmax(wide.logits, dim=-1)
    return wide.reduced(wide.losses(log_probabilities, torch.neg).to(rows.dtype))
