"""segmentation_models.pytorch: its "drop-in replacement" of PyTorch's cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import torchvision_operators

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``SoftCrossEntropyLoss``; its ``smooth_factor`` is the label smoothing."""
    torchvision_operators()
    from segmentation_models_pytorch.losses import SoftCrossEntropyLoss

    def smp_soft(
        input: Tensor,
        target: Tensor,
        ignore_index: int | None = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        loss = SoftCrossEntropyLoss(reduction, label_smoothing, ignore_index)
        return loss(input, target)

    return smp_soft


IMPLEMENTATIONS = (
    from_package(
        "smp_soft",
        load,
        distribution="segmentation-models-pytorch",
        requires=("segmentation_models_pytorch", "timm", "torchvision"),
        lacks=("unbatched", "soft_target"),
        precision="input_dtype",
        promises=("double_backward", "jvp"),
        url="https://smp.readthedocs.io/en/latest/losses.html#softcrossentropyloss",
    ),
)
