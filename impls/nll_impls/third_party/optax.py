"""Optax: cross entropies of JAX, values and gradients bridged by NumPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._bridge import to_numpy, with_pullback
from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``softmax_cross_entropy_with_integer_labels``, or ``softmax_cross_entropy``.

    Optax returns the rows; reductions are JAX's own.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax as library

    vjp: Any = jax.vjp

    def optax(input: Tensor, target: Tensor, reduction: str = "mean") -> Any:
        axis = 1 if input.ndim > 1 else -1
        soft = target.is_floating_point()
        labels = to_numpy(target)
        reduce = {"none": lambda rows: rows, "sum": jnp.sum, "mean": jnp.mean}[reduction]

        def rows(logits: Any) -> Any:
            if soft:
                return library.softmax_cross_entropy(logits, jnp.asarray(labels), axis)
            return library.softmax_cross_entropy_with_integer_labels(
                logits, jnp.asarray(labels), axis
            )

        def call(logits: Any) -> tuple[Any, Callable[[Any], Any]]:
            value, pullback = vjp(lambda x: reduce(rows(x)), jnp.asarray(logits))
            return value, lambda upstream: pullback(jnp.asarray(upstream))[0]

        return with_pullback(input, call)

    return optax


IMPLEMENTATIONS = (
    from_package(
        "optax",
        load,
        distribution="optax",
        requires=("optax", "jax"),
        lacks=("ignore_minus_100", "target_gradient"),
        precision="input_dtype",
        url="https://optax.readthedocs.io/en/latest/api/losses.html",
    ),
)
