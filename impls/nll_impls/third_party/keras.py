"""Keras on its torch backend: crossentropies of logits with the classes last."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://keras.io/api/losses/probabilistic_losses/"
REQUIRES = ("keras",)


def load_sparse() -> Callable[..., Any]:
    """``SparseCategoricalCrossentropy(from_logits=True)`` in the dtype of the logits."""
    keras = _keras()

    def keras_sparse(
        input: Tensor,
        target: Tensor,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> Any:
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True,
            ignore_class=ignore_index,
            reduction=reduction,
            dtype=_name(input.dtype),
            axis=1 if input.ndim > 1 else -1,
        )
        return loss(target, input)

    return keras_sparse


def load_categorical() -> Callable[..., Any]:
    """``CategoricalCrossentropy(from_logits=True)`` of class probabilities."""
    keras = _keras()

    def keras_categorical(
        input: Tensor, target: Tensor, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> Any:
        import torch

        axis = 1 if input.ndim > 1 else -1
        if not target.is_floating_point():  # one-hot, as its documentation demands
            hot = torch.nn.functional.one_hot(target, input.shape[axis]).to(input.dtype)
            target = hot.movedim(-1, axis)
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=label_smoothing,
            reduction=reduction,
            dtype=_name(input.dtype),
            axis=axis,
        )
        return loss(target, input)

    return keras_categorical


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    if keras.backend.backend() != "torch":
        raise ImportError(f"Keras runs on {keras.backend.backend()} here, not on torch")
    # Outside of a scope Keras moves every tensor to the device it would choose itself.
    return keras


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


IMPLEMENTATIONS = (
    from_package(
        "keras_sparse",
        load_sparse,
        distribution="keras",
        requires=REQUIRES,
        # ignore_class is None unless given.
        lacks=("unbatched", "soft_target", "ignore_minus_100"),
        precision="input_dtype",
        url=DOCS,
    ),
    from_package(
        "keras_categorical",
        load_categorical,
        distribution="keras",
        requires=REQUIRES,
        lacks=("unbatched", "ignore_minus_100"),
        precision="input_dtype",
        url=DOCS,
    ),
)
