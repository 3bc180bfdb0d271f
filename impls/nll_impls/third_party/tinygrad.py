"""tinygrad: its cross entropies, values and gradients bridged by NumPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._bridge import to_numpy, with_pullback
from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``Tensor.sparse_categorical_crossentropy``, or ``cross_entropy`` for probabilities."""
    os.environ.setdefault("DEV", "PYTHON")  # its CPU device would want clang
    os.environ.setdefault("PYTHON", "1")
    from tinygrad import Tensor as Array
    from tinygrad import dtypes

    def array(tensor: Tensor) -> Any:
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind == "bfloat16":
            return Array(tensor.detach().float().numpy()).cast(dtypes.bfloat16)
        return Array(to_numpy(tensor))

    def back(value: Any) -> Any:
        if value.dtype == dtypes.bfloat16:
            import ml_dtypes

            return value.cast(dtypes.float32).numpy().astype(ml_dtypes.bfloat16)
        return value.numpy()

    def tinygrad(
        input: Tensor,
        target: Tensor,
        ignore_index: int = -1,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        logits, labels = array(input), array(target)
        if target.is_floating_point():
            loss = logits.cross_entropy(labels, reduction, label_smoothing)
        else:
            last = logits.transpose(1, -1) if input.ndim == 2 else logits
            if input.ndim > 2:
                last = logits.permute(0, *range(2, input.ndim), 1)
            elif input.ndim == 2:
                last = logits
            loss = last.sparse_categorical_crossentropy(
                labels, ignore_index, label_smoothing, reduction
            )

        def call(_: Any) -> tuple[Any, Callable[[Any], Any]]:
            import torch

            def pullback(upstream: Any) -> Any:
                flowing = array(torch.as_tensor(upstream)).cast(loss.dtype)
                (grad,) = loss.gradient(logits, gradient=flowing)
                return back(grad)

            return back(loss), pullback

        return with_pullback(input, call)

    return tinygrad


IMPLEMENTATIONS = (
    from_package(
        "tinygrad",
        load,
        distribution="tinygrad",
        requires=("tinygrad",),
        lacks=("ignore_minus_100", "target_gradient", "unbatched", "double_backward"),
        precision="input_dtype",
        max_elements=400,
        url="https://docs.tinygrad.org/tensor/ops/#tinygrad.Tensor.sparse_categorical_crossentropy",
    ),
)
