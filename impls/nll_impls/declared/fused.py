"""Fused cross entropies: loss and gradient at the speed of memory."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nll_conformance.model import Implementation

from .. import lazily
from ..gpu import GPU

DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}

#: Beside numpy, which allocates their gradients.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "cpu": ("numba",),
    "linear": ("numba",),
    "on_triton": ("triton",),
}


@dataclass(frozen=True)
class Fused:
    """A ``load`` of ``module:function`` that tells what is missing without importing anything."""

    target: str

    def missing(self) -> str | None:
        """The package, the device or the compiler that it cannot do without."""
        module = self.target.rpartition(".")[2].partition(":")[0]
        for package in ("numpy", *_PACKAGES.get(module, ())):
            if importlib.util.find_spec(package) is None:
                return package
        if module == "on_triton" and not (GPU or os.environ.get("TRITON_INTERPRET") == "1"):
            return "a GPU (or TRITON_INTERPRET=1)"
        if module == "compiled" and not (GPU or shutil.which(os.environ.get("CXX", "g++"))):
            return "a GPU or a C++ compiler"
        return None

    def __call__(self) -> Callable[..., Any]:
        """The loss; ImportError says what is missing."""
        return lazily(self.target)()


def _fused(name: str, where: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=Fused(f"nll_impls.fused.{where}"),
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
        max_elements=None if GPU else 512,
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
