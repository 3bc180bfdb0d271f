"""Deliberately wrong losses, modelled on real bugs: what proves that the suite can fail.

Every public module holds faults of one kind and is found by walking the package; adding a
module edits none.  Each mutant is right in all that its fault does not concern, so that it
can be caught for its fault alone.  The modules need torch, and so does listing them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from nll_conformance.model import Mutant

from ._mutant import MARK

__all__ = ["mutants"]


def mutants() -> tuple[Mutant, ...]:
    """Every mutant, by module and then in the order in which they are written."""
    return tuple(_found())


def _found() -> Iterator[Mutant]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for name in names:
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        for member in vars(module).values():
            mutant = getattr(member, MARK, None)
            if isinstance(mutant, Mutant):
                yield mutant
