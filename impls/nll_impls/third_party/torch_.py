"""PyTorch's linear cross entropy in chunks of rows, as its options ask for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://docs.pytorch.org/docs/2.13/generated"
#: Rows of a chunk: so few that ordinary inputs take several, the last of them ragged.
ROWS = 7
#: No input takes more chunks than this.
CHUNKS = 256


def load_linear_chunked() -> Callable[..., Any]:
    """``F.linear_cross_entropy`` in chunks of rows, its backward as often as asked."""
    from torch.nn import LinearCrossEntropyOptions, functional

    def torch_linear_chunked(
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        rows = input.shape[0] if input.ndim > 1 else 1
        options: Any = LinearCrossEntropyOptions(
            batch_chunk_size=max(ROWS, math.ceil(rows / CHUNKS)), allow_retain_graph=True
        )
        return functional.linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            options=options,
        )

    return torch_linear_chunked


IMPLEMENTATIONS = (
    from_package(
        "torch_linear_chunked",
        load_linear_chunked,
        family="linear_cross_entropy",
        distribution="torch",
        requires=("torch>=2.13",),
        promises=("chunked",),
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        url=f"{DOCS}/torch.nn.functional.linear_cross_entropy.html",
    ),
)
