"""Liger-Kernel: Triton kernels that write the gradient over the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import CAPS, LINEAR_CAPS, triton_anywhere

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://linkedin.github.io/Liger-Kernel/Low-Level-APIs/"
REQUIRES = ("liger_kernel", "triton")
DTYPES = ("float32", "bfloat16", "float16")  # the kernels compute in float32


def load_cross_entropy() -> Callable[..., Any]:
    """``liger_cross_entropy``, which has the signature of PyTorch's function."""
    triton_anywhere()
    from liger_kernel.transformers.functional import liger_cross_entropy

    return liger_cross_entropy  # type: ignore[no-any-return]


def load_linear() -> Callable[..., Any]:
    """``liger_fused_linear_cross_entropy`` in the call of ``F.linear_cross_entropy``."""
    triton_anywhere()
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy as fused

    def liger_linear(
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        weight: Tensor | None = None,
        **options: Any,
    ) -> Any:
        return fused(input, linear_weight, target, linear_bias, weight, **options)

    return liger_linear


IMPLEMENTATIONS = (
    from_package(
        "liger",
        load_cross_entropy,
        distribution="liger-kernel",
        requires=REQUIRES,
        lacks=("spatial", "unbatched", "soft_target"),
        dtypes=DTYPES,
        mutates=("input",),
        precision="rounded_rows",
        **CAPS,
        url=DOCS,
    ),
    from_package(
        "liger_linear",
        load_linear,
        family="linear_cross_entropy",
        distribution="liger-kernel",
        requires=REQUIRES,
        lacks=("unbatched", "soft_target"),
        promises=("ignore_index", "label_smoothing"),
        dtypes=DTYPES,
        **LINEAR_CAPS,
        url=DOCS,
    ),
)
