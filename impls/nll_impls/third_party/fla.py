"""flash-linear-attention: Triton cross entropies with a module's reductions around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._reduce import reduced
from ._shims import CAPS, LINEAR_CAPS, torchvision_operators, triton_anywhere

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://github.com/fla-org/flash-linear-attention/blob/main/fla/modules"
REQUIRES = ("fla", "triton", "transformers", "einops")
DTYPES = ("float32", "bfloat16", "float16")  # losses are documented as float32


def load_cross_entropy() -> Callable[..., Any]:
    """The function under ``FusedCrossEntropyLoss``, which itself demands a GPU tensor."""
    torchvision_operators()  # transformers imports it where it is there
    triton_anywhere()
    from fla.modules.fused_cross_entropy import cross_entropy_loss

    def fla(
        input: Tensor,
        target: Tensor,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        losses, _ = cross_entropy_loss(
            input, target, label_smoothing=label_smoothing, ignore_index=ignore_index
        )
        return reduced(losses, target, ignore_index, reduction)

    return fla


def load_linear() -> Callable[..., Any]:
    """``fused_linear_cross_entropy_loss`` in the call of ``F.linear_cross_entropy``."""
    torchvision_operators()  # transformers imports it where it is there
    triton_anywhere()
    from fla.modules.fused_linear_cross_entropy import fused_linear_cross_entropy_loss as fused

    def fla_linear(
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        **options: Any,
    ) -> Any:
        return fused(input, target, linear_weight, linear_bias, **options)

    return fla_linear


IMPLEMENTATIONS = (
    from_package(
        "fla",
        load_cross_entropy,
        distribution="fla-core",
        requires=REQUIRES,
        lacks=("spatial", "unbatched", "soft_target"),
        divergences={"half_output": "float32"},
        precision="fp32_inside",
        dtypes=DTYPES,
        **CAPS,
        url=f"{DOCS}/fused_cross_entropy",
    ),
    from_package(
        "fla_linear",
        load_linear,
        family="linear_cross_entropy",
        distribution="fla-core",
        requires=REQUIRES,
        lacks=("unbatched", "soft_target", "reduction_none"),
        promises=("ignore_index", "label_smoothing"),
        divergences={"half_output": "float32"},
        dtypes=DTYPES,
        **LINEAR_CAPS,
        url=f"{DOCS}/fused_linear_cross_entropy",
    ),
)
