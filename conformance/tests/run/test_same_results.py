"""The same seed gives the same results, however the run is done."""

import subprocess
import sys
from pathlib import Path

import pytest

from nll_conformance.report import Report
from nll_conformance.results import comparable, read

HERE = Path(__file__).parent
RULES = ("values.*", "reductions.sum", "weight.rows", "gradients.upstream_rows")


def run(path: Path, *extra: str, before: str = "pass") -> Report:
    program = (
        f"import sys; {before}; sys.argv[0] = 'nll-conformance';"
        "from nll_conformance.cli import main; main()"
    )
    rules = [word for rule in RULES for word in ("--rules", rule)]
    subprocess.run(
        [sys.executable, "-c", program, "check", f"{HERE / 'wrong.py'}:no_weight"]
        + ["--profile", "quick", *rules, "--json", str(path), *extra],
        check=False,
        capture_output=True,
        cwd=HERE,
    )
    return read(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Report:
    return run(tmp_path_factory.mktemp("plain") / "r.jsonl", "--jobs", "1")


def test_something_failed_and_something_passed(plain):
    found = {r.outcome for r in plain.results}
    assert found == {"pass", "fail"}


@pytest.mark.parametrize(
    ("extra", "before"),
    [
        (("--jobs", "2"), "pass"),
        (("--no-isolation",), "pass"),
        # Hypothesis would mix the constants of a local module into its draws.
        (("--no-isolation",), "import wrong, constants_of_mine"),
    ],
    ids=["two jobs", "in process", "another local module"],
)
def test_the_same_results(plain, tmp_path, extra, before):
    again = run(tmp_path / "r.jsonl", *extra, before=before)
    assert comparable(again) == comparable(plain)


def test_another_seed_gives_other_cases(plain, tmp_path):
    other = run(tmp_path / "r.jsonl", "--seed", "5")
    assert comparable(other) != comparable(plain)
