"""Imported by the fork server, so that every worker starts with all of it in memory."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):  # Hypothesis looks after its state where it exists
    import numpy.random  # noqa: F401

from hypothesis import strategies as st

from . import engine, originals, search, worker

originals.picture()  # imports all rules
# Hypothesis imports and caches a good deal at its first search.
search.smallest(st.none(), lambda case: False, start=search.Start(0), cases=1)
__all__ = ["engine", "worker"]
