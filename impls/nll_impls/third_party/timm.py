"""timm: cross entropy with smoothed labels, and of soft targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import torchvision_operators

if TYPE_CHECKING:
    from torch import Tensor

CODE = "https://github.com/huggingface/pytorch-image-models/blob/main/timm/loss/cross_entropy.py"
REQUIRES = ("timm", "torchvision")
LACKS = ("spatial", "unbatched", "reduction_none", "reduction_sum", "ignore_minus_100")


def load_label_smoothing() -> Callable[..., Any]:
    """``LabelSmoothingCrossEntropy``, with a default of no smoothing."""
    torchvision_operators()
    from timm.loss import LabelSmoothingCrossEntropy

    def timm_label_smoothing(input: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Any:
        return LabelSmoothingCrossEntropy(label_smoothing)(input, target)

    return timm_label_smoothing


def load_soft_target() -> Callable[..., Any]:
    """``SoftTargetCrossEntropy``; class indices become one-hot rows, as its mixup makes them."""
    torchvision_operators()
    import torch
    from timm.loss import SoftTargetCrossEntropy

    def timm_soft_target(input: Tensor, target: Tensor) -> Any:
        if not target.is_floating_point():
            target = torch.nn.functional.one_hot(target, input.shape[-1]).to(input.dtype)
        return SoftTargetCrossEntropy()(input, target)

    return timm_soft_target


IMPLEMENTATIONS = (
    from_package(
        "timm_label_smoothing",
        load_label_smoothing,
        distribution="timm",
        requires=REQUIRES,
        lacks=(*LACKS, "soft_target"),
        precision="input_dtype",
        promises=("double_backward", "jvp"),
        url=CODE,
    ),
    from_package(
        "timm_soft_target",
        load_soft_target,
        distribution="timm",
        requires=REQUIRES,
        lacks=LACKS,
        precision="input_dtype",
        promises=("double_backward", "jvp"),
        url=CODE,
    ),
)
