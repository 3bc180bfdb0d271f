"""Bundled implementations: the losses that ship with the suite.

``declared/`` says what there is and needs no torch; ``losses/`` holds the code and is
imported only when an implementation is loaded.  Every module of ``declared`` exposes
``IMPLEMENTATIONS`` and is found by walking the package.
"""

from __future__ import annotations

import importlib
import pkgutil

from nll_conformance import Implementation, lazily

__all__ = ["implementations", "lazily"]


def implementations() -> tuple[Implementation, ...]:
    """Everything that the modules of ``declared`` declare, in the order of their names."""
    from . import declared

    modules = sorted(module.name for module in pkgutil.iter_modules(declared.__path__))
    return tuple(
        implementation
        for name in modules
        for implementation in importlib.import_module(f"{declared.__name__}.{name}").IMPLEMENTATIONS
    )
