"""What must not be computed with."""

from __future__ import annotations

from torch import Tensor

from ..losses.rows import Rows


def check(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float = 0.0,
) -> None:
    """Raise unless the call makes sense and every index that counts is a class."""
    rows = Rows.of(input.detach(), target, weight, ignore_index, reduction, label_smoothing)
    if rows.soft or rows.target.numel() == 0:
        return
    least, most = rows.target.aminmax()
    if bool((least < 0) | (most >= rows.logits.shape[-1])):
        raise IndexError(f"a target is not in [0, {rows.logits.shape[-1]})")
