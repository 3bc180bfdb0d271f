"""nll-conformance: is this loss the negative log-likelihood that it claims to be?

Importing this package imports neither torch nor Hypothesis.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .model import Case, Expected, Finding, Implementation, Observation, Result, Rule

if TYPE_CHECKING:
    from .declare import implementation
    from .pytest_support import parametrize
    from .report import Report
    from .session import check
    from .targets import lazily

try:
    __version__ = version("nll-conformance")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "Case",
    "Expected",
    "Finding",
    "Implementation",
    "Observation",
    "Report",
    "Result",
    "Rule",
    "UsageError",
    "check",
    "implementation",
    "lazily",
    "parametrize",
]

_LAZY = {
    "check": "session",
    "implementation": "declare",
    "lazily": "targets",
    "parametrize": "pytest_support",
    "Report": "report",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
