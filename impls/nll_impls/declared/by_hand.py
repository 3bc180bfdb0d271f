"""Cross entropy as people write it, a technique each, in :mod:`nll_impls.losses`."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Implementation

from .. import lazily

#: What :class:`nll_impls.losses.rows.Rows` does for all of them, as PyTorch does.
DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}


def _by_hand(name: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.losses.{name}:loss"),
        family="cross_entropy",
        divergences=DIVERGENCES,
        **declared,
    )


IMPLEMENTATIONS = (
    _by_hand(
        "naive",
        lacks=("soft_target",),
        precision="input_dtype",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "log_softmax_gather",
        precision="input_dtype",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "gathered",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "one_hot",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "masked",
        precision="rounded_rows",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "chunked",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    # A custom autograd function without a forward-mode derivative: no promise of jvp.
    _by_hand(
        "online_softmax",
        precision="fp32_inside",
        promises=("double_backward", "vmap", "deterministic"),
    ),
)
