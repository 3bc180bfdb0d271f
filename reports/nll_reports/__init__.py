"""Results and benchmark data, as tables and as a site.

>>> import nll_reports
>>> frames = nll_reports.load(["results.jsonl", "bench.jsonl", ".asv/results"])
>>> frames.results.groupby(["implementation", "outcome"]).size()

:data:`COLUMNS` documents every table and column.  Importing this package needs nothing but
the standard library; using it needs the extra ``nll-conformance[report]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .frames import COLUMNS, JOIN_KEYS, Frames
    from .loading import load
    from .site import build

__all__ = ["COLUMNS", "JOIN_KEYS", "Frames", "build", "load"]
_HOME = {
    "COLUMNS": "frames",
    "JOIN_KEYS": "frames",
    "Frames": "frames",
    "build": "site",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
