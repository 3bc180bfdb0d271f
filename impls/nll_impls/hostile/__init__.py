"""Losses that do harm to whoever calls them: what proves that the suite survives.

Every public module holds harms of one kind and is found by walking the package; adding a
module edits none.  Most do harm only where labels are smoothed, and are right elsewhere, so
that rules which have nothing to do with it can be seen to be judged.  None damages anything
outside of the process that calls it, but for files in its temporary folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from nll_conformance.model import Hostile

from ._hostile import MARK

__all__ = ["hostile"]


def hostile() -> tuple[Hostile, ...]:
    """Every hostile loss, by module and then in the order in which they are written."""
    return tuple(_found())


def _found() -> Iterator[Hostile]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for name in names:
        if name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        for member in vars(module).values():
            found = getattr(member, "__dict__", {}).get(MARK)
            if isinstance(found, Hostile):
                yield found
        yield from vars(module).get("HOSTILE", ())
