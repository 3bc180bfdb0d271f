"""Labels moved one step ahead; the last position's is made an ignored one.

As ``ForCausalLMLoss`` of transformers does: no logit is sliced off, so that nothing is
copied before the loss.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def loss(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Mean cross entropy of logits (b, t, v) against the labels (b, t) one step ahead."""
    if target.shape != input.shape[:-1]:
        raise ValueError(
            f"labels have shape {tuple(target.shape)} for positions {tuple(input.shape[:-1])}"
        )
    labels = functional.pad(target, (0, 1), value=ignore_index)[:, 1:]
    return functional.cross_entropy(
        input.reshape(-1, input.shape[-1]), labels.reshape(-1), ignore_index=ignore_index
    )
