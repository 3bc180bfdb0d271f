"""MONAI: Dice and cross entropy together, without the Dice part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``DiceCELoss(lambda_dice=0)``; class indices get a channel of size 1, as documented."""
    from monai.losses import DiceCELoss

    def monai(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        indices = not target.is_floating_point()
        loss = DiceCELoss(
            to_onehot_y=indices,
            softmax=True,
            weight=weight,
            reduction=reduction,
            label_smoothing=label_smoothing,
            lambda_dice=0.0,
        )
        return loss(input, target.unsqueeze(1) if indices else target)

    return monai


IMPLEMENTATIONS = (
    from_package(
        "monai",
        load,
        distribution="monai",
        requires=("monai",),
        # Both stand in its documentation: no ignore_index, and "none" cannot be used.
        lacks=("unbatched", "ignore_minus_100", "reduction_none"),
        precision="input_dtype",
        url="https://docs.monai.io/en/stable/losses.html#diceceloss",
    ),
)
