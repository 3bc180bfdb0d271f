"""TorchMetrics: perplexity, whose logarithm is a cross entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import torchvision_operators

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """The logarithm of ``perplexity`` of one sequence."""
    torchvision_operators()
    from torchmetrics.functional.text import perplexity

    def torchmetrics_perplexity(
        input: Tensor, target: Tensor, ignore_index: int | None = None
    ) -> Any:
        return perplexity(input[None], target[None], ignore_index=ignore_index).log()

    return torchmetrics_perplexity


IMPLEMENTATIONS = (
    from_package(
        "torchmetrics_perplexity",
        load,
        distribution="torchmetrics",
        requires=("torchmetrics", "lightning_utilities"),
        lacks=(
            "spatial",
            "unbatched",
            "soft_target",
            "reduction_none",
            "reduction_sum",
            "ignore_minus_100",
        ),
        precision="input_dtype",
        url="https://lightning.ai/docs/torchmetrics/stable/text/perplexity.html",
    ),
)
