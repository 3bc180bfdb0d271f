"""Optax: cross entropies of JAX, values and gradients bridged by NumPy."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._bridge import to_numpy, with_pullback
from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``softmax_cross_entropy_with_integer_labels``, or ``softmax_cross_entropy``.

    Optax returns the rows; they are added up by torch, which spares compiling each shape for
    each reduction.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    config: Any = jax.config
    config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax as library

    def rows(logits: Any, labels: Any) -> Any:
        axis = 1 if logits.ndim > 1 else -1
        if labels.ndim == logits.ndim and jnp.issubdtype(labels.dtype, jnp.floating):
            return library.softmax_cross_entropy(logits, labels, axis)
        return library.softmax_cross_entropy_with_integer_labels(logits, labels, axis)

    def pulled_back(logits: Any, labels: Any, upstream: Any) -> Any:
        return jax.vjp(lambda x: rows(x, labels), logits)[1](upstream)[0]

    @functools.cache  # by the first call: what loads a loss may fork, which JAX's threads do not
    def compiled() -> tuple[Any, Any]:
        options = _quickly(jax)
        return tuple(jax.jit(f, compiler_options=options) for f in (rows, pulled_back))

    def optax(input: Tensor, target: Tensor, reduction: str = "mean") -> Any:
        forward, backward = compiled()
        labels = to_numpy(target)

        def call(logits: Any) -> tuple[Any, Callable[[Any], Any]]:
            return forward(logits, labels), lambda upstream: backward(logits, labels, upstream)

        losses = with_pullback(input, call)
        return {"none": lambda: losses, "sum": losses.sum, "mean": losses.mean}[reduction]()

    return optax


def _quickly(jax: Any) -> dict[str, Any] | None:
    """Options of XLA that compile each shape quickly rather than well, where it knows them."""
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0.0)
    except (RuntimeError, TypeError, ValueError):
        return None
    return options


IMPLEMENTATIONS = (
    from_package(
        "optax",
        load,
        distribution="optax",
        requires=("optax", "jax"),
        # Second derivatives and those of targets are JAX's, not bridged.
        lacks=("ignore_minus_100", "target_gradient", "double_backward"),
        precision="input_dtype",
        url="https://optax.readthedocs.io/en/latest/api/losses.html",
    ),
)
