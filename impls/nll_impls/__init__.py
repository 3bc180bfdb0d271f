"""Bundled implementations: the losses that ship with the suite.

``declared/`` says what there is and needs no torch; ``losses/`` holds the code and is
imported only when an implementation is loaded; ``third_party/`` declares and adapts losses
of other packages, a module each.  Every module of ``declared`` and ``third_party`` exposes
``IMPLEMENTATIONS`` and is found by walking the package.
"""

from __future__ import annotations

import importlib
import pkgutil

from nll_conformance import Implementation, lazily

__all__ = ["implementations", "lazily"]


def implementations() -> tuple[Implementation, ...]:
    """Everything that ``declared`` and ``third_party`` declare, in the order of modules."""
    from . import declared, third_party

    return tuple(
        implementation
        for package in (declared, third_party)
        for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        if not module.startswith("_")
        for implementation in importlib.import_module(
            f"{package.__name__}.{module}"
        ).IMPLEMENTATIONS
    )
