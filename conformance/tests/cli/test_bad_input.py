"""One clear sentence, the valid choices, the nearest match, exit 2, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

WRONG = Path(__file__).parent.parent / "run" / "wrong.py"


def run(*arguments: str, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "nll_conformance", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


CE = "torch.nn.functional:cross_entropy"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "give at least one TARGET"),
        (["check", "gatherd"], "Did you mean 'gathered'?"),
        (["check", "no.such.module:loss"], "no module 'no'"),
        (["check", "torch.nn.functional:cross_entropi"], "Did you mean 'cross_entropy'?"),
        (["check", "nowhere.py:loss"], "no file 'nowhere.py'"),
        (["check", f"{WRONG}:not_callable"], "is a int, which cannot be called"),
        (["check", f"{WRONG}:makes_modules"], "Give the class, or a module"),
        (["check", f"{WRONG}:no_tensor"], "returned float, not a floating tensor"),
        (["check", f"{WRONG}:needs_more"], "temperature"),
        (["check", f"{WRONG}:gaussian"], "--family gaussian_nll"),
        (["check", CE, "--family", "cross_entrop"], "Did you mean 'cross_entropy'?"),
        (
            ["check", CE, "--profile", "quick", "--rules", "poisson_nll.*"],
            "none of them is a rule of these families",
        ),
        (["check", CE, "--rules", "values.rowloss"], "Did you mean 'values.row_loss'?"),
        (["check", CE, "--dtype", "float23"], "Did you mean 'float32'?"),
        (["check", CE, "--device", "cudda"], "Did you mean 'cuda'?"),
        (["check", CE, "--lacks", "spacial"], "Did you mean 'spatial'?"),
        (["check", CE, "--declare", "precision=fp32"], "Did you mean 'fp32_inside'?"),
        (["check", CE, "--declare", "mean_of_none=0"], "unknown declaration"),
        (["check", CE, "--declare", "precision"], "is not KEY=VALUE"),
        (["check", CE, "--profile", "quik"], "Did you mean 'quick'?"),
        (["check", CE, "--timeout", "0"], "not a positive number"),
        (["check", CE, "--json", "/nowhere/r.jsonl"], "there is no folder"),
        (["check", CE, "--junit", "/nowhere/r.xml"], "there is no folder"),
        (["check", CE, "--expected", "/nowhere.toml"], "cannot read expected failures"),
        (["chek", CE], "Did you mean 'check'?"),
        (["explain", "values.rowloss"], "Did you mean 'values.row_loss'?"),
        (["selftest", "--device", "gpu"], "Valid: cpu, cuda"),
        (["list", "rule"], "Did you mean 'rules'?"),
        (["replay", "/nowhere.jsonl"], "cannot read results"),
    ],
    ids=lambda value: " ".join(value[:2]).split("/")[-1] if isinstance(value, list) else "",
)
def test_it_is_said(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_malformed_files(tmp_path):
    expected = tmp_path / "expected.toml"
    expected.write_text(
        '[[expected]]\nimplementation = "gathered"\nrule = "values.rowloss"\nreason = "x"\n'
    )
    done = run("check", "gathered", "--expected", str(expected))
    assert done.returncode == 2
    assert "entry 1" in done.stderr and "values.row_loss" in done.stderr
    results = tmp_path / "r.jsonl"
    results.write_text('{"kind": "header"}\nnot json\n')
    assert run("replay", str(results)).returncode == 2


def test_nothing_is_left_half_written(tmp_path):
    path = tmp_path / "r.jsonl"
    assert run("check", "gatherd", "--json", str(path)).returncode == 2
    assert not path.exists()
