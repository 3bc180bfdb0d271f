"""The plugin in test runs of their own: one plain, one under xdist, with the same content."""

from __future__ import annotations

import os
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

TARGET = "losses_under_test.py:crashes"

@nll_conformance.parametrize(TARGET, rules=["reductions.sum", "reductions.none"])
def test_target(rule):
    rule.check()

class TestCallable:
    @nll_conformance.parametrize(warns, rules="reductions.mean", dtype="float32,bfloat16")
    def test_callable(self, rule):
        assert rule.sentence and rule.level == "must"
        rule.check()
"""
MISTAKEN = """
import nll_conformance

@nll_conformance.parametrize(lambda input, target: 0, lacks="spatal")
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


def run_everything(folder: Path, *more: str) -> Ended:
    shutil.copy(HERE / "losses_under_test.py", folder)
    (folder / "test_theirs.py").write_text(TESTS)
    (folder / "test_mistaken.py").write_text(MISTAKEN)
    # A module that cannot be collected must not keep the others from running.
    return start(folder, *ARGUMENTS, "--continue-on-collection-errors", *more)


@pytest.fixture(scope="module", params=["plain", "xdist"])
def ended(request, once) -> Ended:
    more = ["-n", "2"] if request.param == "xdist" else []
    return once(request.param, lambda folder: run_everything(folder, *more))


IMPL = {
    "nll::reductions.sum-float32-losses_under_test.py:crashes": "failure",
    "nll::reductions.mean-float32-losses_under_test.py:crashes": "passed",
    "nll::reductions.reduce-float32-losses_under_test.py:crashes": "skipped",
    "nll::reductions.sum-float32-losses_under_test.py:right": "passed",
    "nll::reductions.mean-float32-losses_under_test.py:right": "passed",
    "nll::reductions.reduce-float32-losses_under_test.py:right": "skipped",
}
THEIRS = {
    "test_theirs::test_unrelated": "passed",
    "test_theirs::test_target[reductions.none-float32]": "passed",
    "test_theirs::test_target[reductions.sum-float32]": "failure",
    "test_theirs.TestCallable::test_callable[reductions.mean-float32]": "passed",
    "test_theirs.TestCallable::test_callable[reductions.mean-bfloat16]": "passed",
}


def test_a_crash_fails_its_item_only_and_ids_are_stable(ended):
    assert ended.code == 1, ended.out
    outcomes = ended.outcomes()
    assert outcomes.pop("::test_mistaken") == "error"
    assert outcomes == {**IMPL, **THEIRS}


def test_a_failure_is_five_entries_and_no_traceback(ended):
    block = ended.out.partition("FAILURES")[2]
    assert "CRASH reductions.sum  losses_under_test.py:crashes  float32 cpu" in block
    for entry in ("expected  ", "came      the process died: signal SIGABRT", "case", "replay  "):
        assert f"\n  {entry}" in block
    assert "from losses_under_test import crashes" in block
    assert "Traceback" not in ended.out
    assert "pytest_support" not in ended.out


def test_a_wrong_option_of_the_decorator_is_one_sentence(ended):
    block = ended.out.partition("ERROR collecting test_mistaken.py")[2].splitlines()
    sentence = "unknown capability of cross_entropy 'spatal'. Did you mean 'spatial'?"
    assert block[1].startswith(sentence)


def test_the_header_says_what_is_judged(ended):
    (line,) = [line for line in ended.out.splitlines() if line.startswith("nll-conformance ")]
    assert "spec 1.0: losses_under_test.py:crashes, losses_under_test.py:right" in line
    assert line.endswith("dtypes float32; cpu; profile quick; seed 0")


def test_the_summary_has_a_matrix_and_a_program_for_each_cause(ended):
    summary = ended.out.partition("= nll-conformance =")[2]
    assert "+ all pass" in summary
    assert [line for line in summary.splitlines() if line.startswith("reductions  ")]
    assert summary.count("from losses_under_test import crashes") >= 1
    assert "SKIPPED [2] nll:1: unsupported: no parameter reduce" in summary


def test_properties_reach_junit(ended):
    case = ended.cases()["nll::reductions.sum-float32-losses_under_test.py:crashes"]
    found = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert found == {
        "implementation": "losses_under_test.py:crashes",
        "family": "cross_entropy",
        "rule": "reductions.sum",
        "dtype": "float32",
        "device": "cpu",
        "level": "must",
        "outcome": "crash",
    }


def test_results_are_written_one_file_for_each_header(ended):
    first = results.read(ended.folder / "results.jsonl")
    assert first.complete and first.header["isolation"]
    keys = {(r.implementation, r.rule): r.outcome for r in first.results}
    assert keys["losses_under_test.py:crashes", "reductions.sum"] == "crash"
    assert keys["losses_under_test.py:right", "reductions.mean"] == "pass"
    others = sorted(ended.folder.glob("results-*.jsonl"))
    assert [results.read(path).implementations for path in others] == [
        ("warns",),
        ("losses_under_test.py:crashes",),
    ]


def test_a_step_summary_is_written_where_ci_wants_one(ended):
    text = (ended.folder / "step.md").read_text()
    assert "## nll-conformance" in text
    assert "crash: reductions.sum" in text


def test_no_process_is_left(ended):
    mine = str(ended.folder)
    for place in Path("/proc").glob("[0-9]*/cwd"):
        try:
            assert str(place.readlink()) != mine
        except OSError:  # it ended meanwhile, or is somebody else's
            continue


def test_a_usage_error_of_a_worker_of_xdist_is_said_by_the_controller(tmp_path):
    (tmp_path / "test_a.py").write_text("def test_a(): pass")
    told = start(tmp_path, "--nll-impl", "gathered", "--nll-profile", "quck", "-n", "2")
    assert told.code == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: unknown profile 'quck'. Did you mean 'quick'?" in told.out
    assert "Traceback" not in told.out
