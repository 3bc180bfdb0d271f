"""What got worse is said; what cannot be compared is neither lost nor mended."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nll_conformance import results as files
from nll_conformance.diff import difference
from nll_conformance.model import Result
from nll_conformance.report import Report

PLAIN = Result("mine", "nll", "values.plain_mean", 1, "must", "float32", "cpu", "pass")
SUM = replace(PLAIN, rule="reductions.sum")
HEADER = {
    "kind": "header",
    "schema": 1,
    "implementations": [{"name": "mine", "family": "nll"}],
    "profile": "quick",
    "seed": 0,
    "mode": "deterministic",
    "spec_version": "1.0",
    "suite_version": "1",
    "isolation": True,
    "rules": [],
}
DONE = {"kind": "footer", "interrupted": False}


def report(*results: Result, done: bool = True, **header: object) -> Report:
    return Report({**HEADER, **header}, results, DONE if done else None)


def change(old: Report, new: Report) -> list[str]:
    return [c.change for c in difference(old, new).compared]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("pass", "fail", "worse"),
        ("pass", "crash", "worse"),
        ("pass", "timeout", "worse"),
        ("pass", "expected_failure", "worse"),
        ("expected_failure", "fail", "worse"),
        ("fail", "pass", "better"),
        ("fail", "expected_failure", "better"),
        ("expected_failure", "unexpected_pass", "better"),
        ("fail", "crash", "same"),
        ("pass", "unexpected_pass", "same"),
        ("pass", "not_run", "not compared"),
        ("not_run", "fail", "not compared"),
        ("pass", "error", "not compared"),
        ("pass", "unsupported", "not compared"),
        ("fail", "inconclusive", "not compared"),
        ("not_run", "not_run", "same"),
    ],
)
def test_outcomes(before, after, expected):
    old, new = report(replace(PLAIN, outcome=before)), report(replace(PLAIN, outcome=after))
    assert change(old, new) == [expected]
    assert difference(old, new).exit_code == (expected == "worse")


def test_dtypes_devices_and_implementations_are_kept_apart():
    others = [
        replace(PLAIN, dtype="bfloat16"),
        replace(PLAIN, device="cuda"),
        replace(PLAIN, implementation="yours"),
    ]
    new = [replace(each, outcome="fail") for each in others]
    assert change(report(PLAIN, *others), report(PLAIN, *new)) == ["same", *["worse"] * 3]


def test_a_changed_rule_is_listed_and_does_not_fail():
    found = difference(report(PLAIN), report(replace(PLAIN, revision=2, outcome="fail")))
    assert [c.why for c in found.of("rule changed")] == ["revision 1 -> 2"]
    assert found.exit_code == 0


def test_a_run_cut_short_loses_and_mends_nothing():
    failed = replace(SUM, outcome="fail")
    for old, new, where in (
        (report(PLAIN, SUM), report(PLAIN, done=False), "NEW"),
        (report(PLAIN, done=False), report(PLAIN, failed), "OLD"),
    ):
        found = difference(old, new)
        assert [c.why for c in found.of("not compared")] == [f"not in {where}, which was cut short"]
        assert not found.of("worse") and not found.of("better")
        assert any(note.startswith(f"{where} was cut short") for note in found.notes)


def test_what_makes_runs_different_is_said():
    new = report(
        PLAIN,
        profile="standard",
        seed=7,
        mode="random",
        spec_version="1.1",
        implementations=[{"name": "mine", "family": "nll", "lacks": ["spatial"]}],
    )
    notes = "\n".join(difference(report(PLAIN), new).notes)
    assert "profile: 'quick' -> 'standard'; the cases differ" in notes
    assert "seed: 0 -> 7" in notes and "mode" in notes and "spec_version" in notes
    assert "mine is declared otherwise: lacks None -> ['spatial']" in notes


def write(path: Path, given: Report) -> str:
    with files.create(path, given.header) as writer:
        for result in given.results:
            writer.add(result)
        if given.footer:
            writer.finish(given.footer)
    return str(path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nll_conformance", "diff", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command(tmp_path):
    old = write(tmp_path / "old.jsonl", report(PLAIN, SUM))
    evil = replace(PLAIN, outcome="fail", message="loss is \x1b[2J 1, expected 2")
    new = write(tmp_path / "new.jsonl", report(evil, done=False))
    done = run(old, new)
    assert done.returncode == 1, done.stderr
    assert "WORSE mine  values.plain_mean  float32 cpu: pass -> fail" in done.stdout
    assert "\x1b" not in done.stdout
    assert "not compared: 1 result, not in NEW, which was cut short" in done.stdout
    found = json.loads(run(old, new, "--json").stdout)
    assert found["counts"] == {"not compared": 1, "worse": 1}
    assert run(old, old).returncode == 0
    assert run(old, str(tmp_path / "none")).returncode == 2
