"""The plugin in test runs of their own: one plain, one under xdist, with the same content."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nll_conformance import results

HERE = Path(__file__).parent
TESTS = """
import torch
import nll_conformance
from losses_under_test import warns

threads = torch.get_num_threads()

def test_unrelated():
    assert torch.get_num_threads() == threads

@nll_conformance.parametrize("losses_under_test.py:crashes", rules=["reductions.sum", "reductions.none"])
def test_target(rule):
    rule.check()

class TestCallable:
    @nll_conformance.parametrize(warns, rules="reductions.mean", dtype="float32,bfloat16")
    def test_callable(self, rule):
        assert rule.sentence and rule.level == "must"
        rule.check()

@nll_conformance.parametrize("losses_under_test.py:crashes", rules="reductions.none", lacks="all")
def test_usage(rule):
    rule.check()
"""
ARGUMENTS = [
    "--nll-impl", "losses_under_test.py:crashes",
    "--nll-impl", "losses_under_test.py:right",
    "--nll-rules", "reductions.sum",
    "--nll-rules", "reductions.mean",
    "--nll-rules", "reductions.reduce",
    "--nll-profile", "quick",
    "--nll-dtype", "float32",
    "--nll-json", "results.jsonl",
    "--junitxml", "junit.xml",
    "--strict-markers", "-W", "error", "-p", "no:cacheprovider", "-ra",
]  # fmt: skip


@dataclass
class Ended:
    """A test run that ended."""

    folder: Path
    code: int
    out: str

    def cases(self) -> dict[str, ET.Element]:
        return {
            f"{case.get('classname')}::{case.get('name')}": case
            for case in ET.parse(self.folder / "junit.xml").iter("testcase")
        }

    def outcomes(self) -> dict[str, str]:
        return {
            name: next((c.tag for c in case if c.tag != "properties"), "passed")
            for name, case in self.cases().items()
        }


def start(folder: Path, *arguments: str) -> Ended:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={**clean, "GITHUB_STEP_SUMMARY": str(folder / "step.md"), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(folder, done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module", params=["plain", "xdist"])
def ended(request, tmp_path_factory) -> Ended:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(HERE / "losses_under_test.py", folder)
    (folder / "test_theirs.py").write_text(TESTS)
    more = ["-n", "2"] if request.param == "xdist" else []
    # A module that cannot be collected must not keep the others from running.
    return start(folder, *ARGUMENTS, "--continue-on-collection-errors", *more)


IMPL = {
    "nll::reductions.sum-float32-losses_under_test.py:crashes": "failure",
    "nll::reductions.mean-float32-losses_under_test.py:crashes": "passed",
    "nll::reductions.reduce-float32-losses_under_test.py:crashes": "skipped",
    "nll::reductions.sum-float32-losses_under_test.py:right": "passed",
    "nll::reductions.mean-float32-losses_under_test.py:right": "passed",
    "nll::reductions.reduce-float32-losses_under_test.py:right": "skipped",
}
