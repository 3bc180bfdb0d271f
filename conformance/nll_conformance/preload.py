"""Imported by the fork server, so that every worker starts with all of it in memory."""

from __future__ import annotations

from . import discover, engine, worker

discover.rules()
__all__ = ["discover", "engine", "worker"]
