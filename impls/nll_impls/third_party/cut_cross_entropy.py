"""Apple's cut cross entropy: a linear cross entropy that never makes the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import LINEAR_CAPS, conjunction_at_once, triton_anywhere

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``linear_cross_entropy`` with its defaults, in the call of the family."""
    triton_anywhere()
    from cut_cross_entropy import linear_cross_entropy
    from cut_cross_entropy.tl_utils import tl_and_reduce_fn

    conjunction_at_once(tl_and_reduce_fn)

    def cut_cross_entropy(
        input: Tensor, linear_weight: Tensor, target: Tensor, **options: Any
    ) -> Any:
        return linear_cross_entropy(input, linear_weight, target, **options)

    return cut_cross_entropy


IMPLEMENTATIONS = (
    from_package(
        "cut_cross_entropy",
        load,
        family="linear_cross_entropy",
        distribution="cut-cross-entropy",
        requires=("cut_cross_entropy", "triton"),
        lacks=("unbatched", "soft_target"),
        promises=("ignore_index",),
        # By design no float32 backward; Triton's interpreter multiplies bfloat16 wrongly.
        dtypes=("float16",),
        divergences={"half_output": "float32"},
        # Products of 16-bit numbers are rounded to 16 bits, for the target's logit.
        precision="input_dtype",
        **LINEAR_CAPS,
        url="https://github.com/apple/ml-cross-entropy",
    ),
)
