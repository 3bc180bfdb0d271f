"""Test runs within this process: what is heavy is imported once, before the first of them.

(pytester forgets what a test run within the process imported; torch does not survive that.)
"""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _imported() -> None:
    import torch  # noqa: F401

    import nll_conformance.preload
    import nll_conformance.pytest_support  # noqa: F401


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch, _imported) -> pytest.Pytester:
    """An empty project with some losses; its runs judge within this process."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    shutil.copy(Path(__file__).with_name("losses_under_test.py"), pytester.path)
    return pytester
