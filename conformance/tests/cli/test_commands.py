"""The commands as a stranger uses them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nll_conformance.results import read

WRONG = Path(__file__).parent.parent / "run" / "wrong.py"


def run(*arguments: str, **options):
    return subprocess.run(
        [sys.executable, "-m", "nll_conformance", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    path = tmp_path_factory.mktemp("failed") / "r.jsonl"
    done = run(
        "check",
        f"{WRONG}:no_weight",
        *("--profile", "quick", "--rules", "weight.*", "--dtype", "float32"),
        *("--json", str(path), "--junit", str(path.with_suffix(".xml"))),
        *("--markdown", str(path.with_suffix(".md")), "--badge", str(path.with_suffix(".json"))),
    )
    return done, path


def test_check_says_what_is_wrong(failed):
    done, path = failed
    assert done.returncode == 1
    assert "FAIL weight.rows" in done.stdout
    assert "torch.nn.CrossEntropyLoss: weight" in done.stdout
    assert f"nll-conformance replay {path} weight.rows" in done.stdout
    assert "\x1b" not in done.stdout  # no colours in a pipe
    assert "weight.rows" in path.with_suffix(".xml").read_text()
    assert "does not conform" in path.with_suffix(".md").read_text()
    assert json.loads(path.with_suffix(".json").read_text())["schemaVersion"] == 1


def test_a_list_may_be_given_in_parts():
    rules = ("--profile", "quick", "--rules", "weight.rows")
    done = run("check", f"{WRONG}:no_weight", *rules, "--dtype", "float32", "--dtype", "float64")
    assert "float32, float64" in done.stdout.splitlines()[1], done.stderr


def test_the_reproducer_is_a_program(failed, tmp_path):
    done = run("replay", str(failed[1]), "weight.rows", "--script")
    assert done.returncode == 0
    script = tmp_path / "reproducer.py"
    script.write_text(done.stdout)
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "AssertionError" in shown.stderr


def test_replay_judges_again(failed):
    done = run("replay", str(failed[1]), "weight.rows")
    assert done.returncode == 1
    assert "fails again" in done.stdout


def test_lists(failed):
    rules = json.loads(run("list", "rules", "--json").stdout)
    assert {"id", "level", "sentence", "source", "needs"} <= rules[0].keys()
    assert "gathered" in run("list", "implementations").stdout
    assert "cross_entropy" in run("list", "families").stdout
    assert run("list", "mutants").returncode == 0


def test_explain():
    done = run("explain", "ignore_index.zero_gradient")
    assert done.returncode == 0
    assert "exactly zero gradient" in done.stdout
    assert "target = torch.tensor" in done.stdout


def test_ctrl_c_keeps_what_was_judged(tmp_path):
    path = tmp_path / "r.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "nll_conformance", "check", f"{WRONG}:slow"]
        + ["--json", str(path), "--dtype", "float32"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        if path.exists() and path.read_text().count('"kind": "result"') >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    report = read(path)
    assert report.footer is not None and report.footer["interrupted"]
    assert len(report.results) >= 2
    assert "Traceback" not in err
    other = run("check", "--resume", str(path), "--rules", "values.plain_mean")
    assert other.returncode == 2 and "cannot resume" in other.stderr
