"""``nll-conformance report``: what it writes, what it says, what it does without its extra."""

from __future__ import annotations

import json
import subprocess
import sys

import invented
import pytest
from click.testing import CliRunner

from nll_conformance.cli.report_ import command
from nll_conformance.errors import UsageError
from nll_reports import build, load
from nll_reports.analysis import analyse
from nll_reports.badge import badge
from nll_reports.markdown import markdown


def report(*words):
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)


def test_it_writes_the_site_and_the_history_and_names_them(tmp_path, given, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    done = report(given / "inputs", "--output", tmp_path / "s", "--history", tmp_path / "h")
    assert done.exit_code == 0 and "index.html  1." in done.output
    assert sorted(f.name for f in (tmp_path / "s").iterdir()) == [
        "badge.json",
        "index.html",
        "summary.md",
    ]
    assert (tmp_path / "step.md").read_text() == (tmp_path / "s" / "summary.md").read_text()
    assert len(list((tmp_path / "h").iterdir())) == 5
    again = report("--output", tmp_path / "s2", "--history", tmp_path / "h")
    assert again.exit_code == 0, "a history alone makes a site"


@pytest.mark.parametrize("file", ["nothing.jsonl", "."])
def test_what_cannot_be_read_is_one_sentence(tmp_path, file):
    with pytest.raises(UsageError) as told:
        report(tmp_path / file, "--output", tmp_path / "s")
    assert "\n" not in str(told.value) and not (tmp_path / "s").exists()


def test_no_results_at_all_is_usage(tmp_path):
    with pytest.raises(UsageError, match="at least one file"):
        report("--output", tmp_path)


def test_without_the_extra_it_says_what_to_install(tmp_path):
    hide = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'vl_convert' else real(n, *a)\n"
        "from nll_conformance.cli import main; sys.argv[0] = 'nll-conformance'; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "report", "x", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "report needs vl_convert: pip install 'nll-conformance[report]'."
    )


def test_importing_the_package_and_the_command_line_needs_no_pandas():
    code = (
        "import sys; import nll_reports, nll_conformance.cli.report_; "
        "assert not {'pandas', 'jinja2', 'vl_convert', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_markdown_escapes_and_tells_verdicts_failures_and_regressions(frames):
    text = markdown(analyse(frames), "site")
    assert "<script>" not in text and "javascript:" not in text
    assert "| ❌ | wrong | cross&#95;entropy |" in text or "| ❌ | wrong |" in text
    assert "2 of 3 mutants" in text and "worse: right" in text


def test_markdown_stays_under_the_limit_of_a_step_summary(tmp_path):
    names = [f"{'n' * 190}{number}" for number in range(1200)]
    lines = [invented.header([{"name": n} for n in names])]
    lines += [invented.result(n, "a.b", "fail", reproducer="") for n in names]
    found = analyse(load([invented.write(tmp_path / "r.jsonl", *lines, invented.footer())]))
    text = markdown(found, "many")
    assert len(text.encode()) < 2**20 and "700 more implementations not shown" in text


@pytest.mark.parametrize(
    ("outcomes", "said", "color"),
    [
        (["pass"], "conforms", "brightgreen"),
        (["pass", "pass"], "2 of 2 conform", "brightgreen"),
        (["pass", "fail"], "1 of 2 failing", "red"),
        (["not_run"], "not judged", "lightgrey"),
    ],
)
def test_the_badge_is_green_only_if_all_conform(tmp_path, outcomes, said, color):
    lines = [invented.header([{"name": f"l{n}"} for n in range(len(outcomes))])]
    lines += [invented.result(f"l{n}", "a.b", o) for n, o in enumerate(outcomes)]
    found = analyse(load([invented.write(tmp_path / "r.jsonl", *lines, invented.footer())]))
    data = json.loads(badge(found))
    assert (data["schemaVersion"], data["message"], data["color"]) == (1, said, color)


def test_an_output_that_is_a_file_is_usage(tmp_path, frames):
    (tmp_path / "s").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        build(frames, tmp_path / "s")
