"""A fork server without torch, shared by the tests that do not need torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nll_conformance.isolation import ForkServer, Worker

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def _entries_importable() -> Iterator[None]:
    sys.path.insert(0, HERE)
    yield
    sys.path.remove(HERE)


@pytest.fixture(scope="session")
def server(_entries_importable: None) -> Iterator[ForkServer]:
    """One server for all tests; a worker's end must not disturb it."""
    with ForkServer(entry="isolation_entries:serve", preload=()) as server:
        yield server


@pytest.fixture
def worker(server: ForkServer) -> Iterator[Worker]:
    """A worker that echoes, or does what it is told."""
    with server.worker(memory_limit_mb=512) as worker:
        yield worker
