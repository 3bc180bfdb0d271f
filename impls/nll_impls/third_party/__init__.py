"""Losses of other packages, held to the contract.

One module for each package, found by its being there: ``IMPLEMENTATIONS`` says what the
package itself documents, functions ``load...`` adapt its call.  Nothing of a package is
imported before an implementation is loaded; where it is absent, it is "not installed".
"""

from __future__ import annotations

import importlib
import pkgutil

from nll_conformance import Implementation


def implementations() -> tuple[Implementation, ...]:
    """Everything that the modules of this package declare, in the order of their names."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(
        implementation
        for name in modules
        if not name.startswith("_")
        for implementation in importlib.import_module(f"{__name__}.{name}").IMPLEMENTATIONS
    )
