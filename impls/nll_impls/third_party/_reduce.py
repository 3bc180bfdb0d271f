"""What a package's module does around the row losses of its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def reduced(losses: Tensor, target: Tensor, ignore_index: int, reduction: str) -> Tensor:
    """Row losses, their sum, or the sum over the number of counted rows.

    As ``flash_attn.losses.cross_entropy.CrossEntropyLoss.forward`` and fla's
    ``FusedCrossEntropyLoss.forward`` do, which refuse tensors on a CPU.  Both check the
    reduction's name when the module is made.
    """
    if reduction not in ("mean", "sum", "none"):
        raise NotImplementedError(f"Unsupported reduction: {reduction}")
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / (target != ignore_index).sum()
