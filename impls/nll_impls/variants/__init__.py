"""Correct losses, none of them as usual: no rule may flag one.

Every module exposes ``IMPLEMENTATIONS`` and is found by walking the package.
"""

from __future__ import annotations

import importlib
import pkgutil

from nll_conformance.model import Implementation

__all__ = ["slow_variants", "variants"]


def _exposed(name: str) -> tuple[Implementation, ...]:
    return tuple(
        implementation
        for module in sorted(module.name for module in pkgutil.iter_modules(__path__))
        if not module.startswith("_")
        for implementation in getattr(importlib.import_module(f"{__name__}.{module}"), name, ())
    )


def variants() -> tuple[Implementation, ...]:
    """Every variant that is quick enough for any profile, by module and place in it."""
    return _exposed("IMPLEMENTATIONS")


def slow_variants() -> tuple[Implementation, ...]:
    """Those for the thorough profile alone: a call may cost seconds, or needs a compiler."""
    return _exposed("SLOW")
