"""Fused cross entropies: loss and gradient at the speed of memory."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Implementation

from .. import lazily

DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}


def _fused(name: str, where: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.fused.{where}"),
        divergences=DIVERGENCES,
        precision="fp32_inside",
        **declared,
    )


def _cpu(name: str, **declared: Any) -> Implementation:
    return _fused(
        name,
        f"cpu:{name}",
        family="cross_entropy",
        promises=("deterministic",),
        devices=("cpu",),
        **declared,
    )


IMPLEMENTATIONS = (
    _cpu("fused"),
    _cpu("fused_workspace"),
    _cpu("fused_inplace", mutates=("input",)),
    _fused(
        "fused_triton",
        "on_triton:fused_triton",
        family="cross_entropy",
        # What the interpreter does in a reasonable time.
        max_elements=512,
    ),
    _fused("fused_compiled", "compiled:fused_compiled", family="cross_entropy"),
    _fused(
        "fused_linear",
        "linear:fused_linear",
        family="linear_cross_entropy",
        lacks=("target_gradient",),
        promises=("deterministic",),
        devices=("cpu",),
    ),
)
