"""Imported by the fork server of a self-test: what workers need, and all mutants and variants."""

from __future__ import annotations

from . import discover, preload

discover.mutants()
discover.variants()
__all__ = ["preload"]
