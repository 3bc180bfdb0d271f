"""Kornia: the focal loss, which with gamma 0 and no alpha is a cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``focal_loss(gamma=0, alpha=None)``.

    It documents a map of all classes, zero but at the target, and a mean over all of its
    elements, ignored ones too; so rows are its sum over the classes, and the mean is left out.
    """
    from kornia.losses import focal_loss

    def kornia_focal(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = -100,
        reduction: str = "mean",
    ) -> Any:
        if reduction == "mean":
            counted = target.ne(-100 if ignore_index is None else ignore_index)
            total = focal_loss(input, target, None, 0.0, "sum", weight, ignore_index)
            if weight is None:
                return total / counted.sum()
            own = weight.to(total.dtype)[target.where(counted, 0)]
            return total / (own * counted).sum()
        loss = focal_loss(input, target, None, 0.0, reduction, weight, ignore_index)
        return loss.sum(1) if reduction == "none" else loss

    return kornia_focal


IMPLEMENTATIONS = (
    from_package(
        "kornia_focal",
        load,
        distribution="kornia",
        requires=("kornia",),
        lacks=("unbatched", "soft_target"),
        precision="input_dtype",
        promises=("double_backward",),
        url="https://kornia.readthedocs.io/en/latest/losses.html#kornia.losses.focal_loss",
    ),
)
