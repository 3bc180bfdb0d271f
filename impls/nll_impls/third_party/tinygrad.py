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
    # Its processes that compile cost more than they save where each shape is compiled anew.
    os.environ.setdefault("PARALLEL", "0")
    from tinygrad import Tensor as Array
    from tinygrad import dtypes

    def array(given: Any) -> Any:
        if given.dtype.name == "bfloat16":
            return Array(given.astype("float32")).cast(dtypes.bfloat16)
        return Array(given)

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
        if target.is_floating_point() and ignore_index >= 0:
            raise ValueError("Tensor.cross_entropy, of probabilities, knows no ignore_index")
        labels = array(to_numpy(target))

        def call(given: Any) -> tuple[Any, Callable[[Any], Any]]:
            logits = array(given)
            if target.is_floating_point():
                loss = logits.cross_entropy(labels, reduction, label_smoothing)
            else:
                classes_last = logits.permute(0, *range(2, logits.ndim), 1)
                loss = classes_last.sparse_categorical_crossentropy(
                    labels, ignore_index, label_smoothing, reduction
                )

            def pullback(upstream: Any) -> Any:
                (grad,) = loss.gradient(logits, gradient=array(upstream))
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
