"""The ready workflow: what it runs is run here, in a checkout with a remote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nll_reports import load

yaml = pytest.importorskip("yaml", reason="the extra `test` has pyyaml")
FILE = Path(__file__).parents[1] / "workflows" / "dashboard.yml"
JOB = yaml.safe_load(FILE.read_text())["jobs"]["dashboard"]


def git(*words, at):
    subprocess.run(["git", *words], cwd=at, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    git("init", "--bare", "--quiet", "origin", at=tmp_path)
    git("clone", "--quiet", "origin", "work", at=tmp_path)
    work = tmp_path / "work"
    for key, value in (("user.name", "a"), ("user.email", "a@example.org")):
        git("config", key, value, at=work)
    (work / "README").write_text("a loss")
    git("add", "README", at=work)
    git("commit", "--quiet", "-m", "one", at=work)
    git("push", "--quiet", "origin", "HEAD:main", at=work)
    return work


def run_steps(checkout):
    """Every step that is a script, but for the installation, as the runner would."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NLL_TARGETS": "torch_nll_loss",
        "NLL_OPTIONS": "--profile quick --rules call.* --dtype float32",
        "NLL_HISTORY_BRANCH": "conformance-history",
    }
    environment.pop("GITHUB_STEP_SUMMARY", None)
    for step in JOB["steps"]:
        if "run" in step and step.get("name") != "install":
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step["run"]],
                cwd=checkout,
                env=environment,
                check=True,
                capture_output=True,
            )


def test_each_run_of_the_workflow_adds_a_file_to_the_branch_and_makes_the_site(checkout):
    for count in (1, 2):
        run_steps(checkout)
        assert (checkout / "site" / "index.html").stat().st_size > 500_000
        assert len(load([], past=checkout / "history").runs) == count
        git("worktree", "remove", "--force", "history", at=checkout)
        listed = subprocess.check_output(
            ["git", "ls-tree", "--name-only", "origin/conformance-history"],
            cwd=checkout,
            text=True,
        )
        assert len(listed.split()) == count and "README" not in listed


def test_its_actions_are_of_a_fixed_version():
    used = [step["uses"] for step in JOB["steps"] if "uses" in step]
    assert used and all("@v" in action for action in used)
