"""A results file survives kills, full disks, second writers and hostile text."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from nll_conformance import results
from nll_conformance.errors import UsageError
from nll_conformance.lines import revive
from nll_conformance.model import OUTCOMES, Result
from nll_conformance.report import Report

HEADER = {
    "kind": "header",
    "schema": 1,
    "suite_version": "0.1",
    "spec_version": "1.0",
    "run_id": "r",
    "implementations": [
        {
            "name": "fused_ce",
            "family": "cross_entropy",
            "family_assumed": True,
            "declaration": "inferred",
            "capabilities": ["weight", "spatial"],
            "lacks": ["soft_target"],
            "promises": [],
            "divergences": {},
            "divergences_seen": {"all_ignored_mean": "nan"},
            "precision": None,
            "dtypes": ["float32"],
            "devices": ["cpu"],
            "version": None,
            "target": "mykernel.py:fused_ce",
        }
    ],
    "declaration": {"fused_ce": "inferred"},
    "environment": {"python": "3.11"},
    "subject_commit": None,
    "suite_commit": None,
    "machine": "laptop",
    "mode": "deterministic",
    "seed": 0,
    "profile": "quick",
    "rules": [],
    "isolation": True,
    "started_at": "2026-01-01T00:00:00+00:00",
}
FOOTER = {"interrupted": False, "finished_at": "2026-01-01T00:00:10+00:00", "seconds": 10.0}
HOSTILE = "\x1b[2J\x00\udcff</script>\n" + '{"kind":"result","outcome":"pass"}\n' + "\u202eevil"


def result(rule: str = "values.exact", outcome: str = "pass", **fields: object) -> Result:
    start = ("fused_ce", "cross_entropy", rule, 1, fields.pop("level", "must"))
    return Result(*start, "float32", "cpu", outcome, **fields)  # type: ignore[arg-type]


def written(path: Path, *found: Result) -> Report:
    with results.create(path, HEADER) as writer:
        for one in found:
            writer.add(one)
        writer.finish(Report(HEADER, found).make_footer(**FOOTER))
    return results.read(path)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def schema(name: str) -> jsonschema.Draft202012Validator:
    text = (resources.files("nll_conformance") / "schemas" / f"{name}.schema.json").read_text()
    found = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


FULL = result(
    outcome="fail",
    cases=3,
    judged=2,
    discriminating=1,
    seconds=0.25,
    error_over_bound=math.inf,
    error_units=-math.inf,
    message="got 1, want 2",
    counterexample={"recipe": {"input": {"shape": [2], "edits": [[[None, 0], "inf"]]}}},
    reproducer="import torch\n",
    finding="value",
)


def test_results_come_back_equal(tmp_path: Path) -> None:
    found = (
        FULL,
        result("a.b", error_over_bound=math.nan),
        *(result(f"theme.{outcome}", outcome) for outcome in OUTCOMES),
    )
    report = written(tmp_path / "r.jsonl", *found)
    assert report.results == found
    assert report.complete
    assert report.header == HEADER


def test_a_result_travels_through_a_pipe() -> None:
    assert revive(json.loads(json.dumps(results.plain(FULL.to_json())))) == FULL


def test_lines_are_valid_under_the_published_schema(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    written(path, FULL, result("a.b", message=HOSTILE, error_units=math.nan))
    validator = schema("results")
    kinds = []
    for line in lines_of(path):
        validator.validate(line)
        kinds.append(line["kind"])
    assert kinds == ["header", "result", "result", "footer"]
    assert not validator.is_valid({**lines_of(path)[1], "surprise": 1})
    assert not validator.is_valid({**lines_of(path)[1], "outcome": "passed"})


def test_schema_and_result_have_the_same_fields() -> None:
    fields = schema("results").schema["$defs"]["result"]["properties"]
    assert set(fields) == {"kind", *FULL.to_json()}
    for name, field in fields.items():
        assert name == "kind" or "description" in field or "$ref" in field


def test_hostile_text_stays_one_harmless_bounded_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    report = written(
        path, result(message=HOSTILE), result("b.b", message="x" * 5_000_000, reason=HOSTILE)
    )
    assert len(lines_of(path)) == 4
    assert path.stat().st_size < 20_000
    first = report.results[0].message
    assert "\x1b" not in first and "\x00" not in first and "\u202e" not in first
    assert "\\x1b[2J" in first
    assert report.counts() == {"pass": 2}


def test_a_cut_file_is_read_as_cut_short_wherever_it_ends(tmp_path: Path) -> None:
    path, cut = tmp_path / "r.jsonl", tmp_path / "cut.jsonl"
    written(path, FULL, result("a.b"), result("c.d"))
    data = path.read_bytes()
    header_ends = data.index(b"\n") + 1
    ends = [i + step for i, byte in enumerate(data) if byte == 10 for step in (0, 1)]
    for end in [*ends[1:-1], *range(header_ends, len(data), 13)]:
        cut.write_bytes(data[:end])
        report = results.read(cut)
        assert not report.complete
        assert len(report.results) == data[header_ends:end].count(b"\n")


@pytest.mark.parametrize("end", [0, 30])
def test_a_file_without_a_whole_header_is_an_error(tmp_path: Path, end: int) -> None:
    path = tmp_path / "r.jsonl"
    written(path)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(UsageError, match=r"r\.jsonl:1: no header"):
        results.read(path)


def resumed_after(path: Path, end: int) -> Report:
    path.write_bytes(path.read_bytes()[:end])
    report, writer = results.resume(path)
    known = {one.key for one in report.results}
    with writer:
        for one in (FULL, result("a.b"), result("c.d")):
            if one.key not in known:
                writer.add(one)
        writer.finish(report.make_footer(**FOOTER))
    return results.read(path)


def test_a_resumed_run_ends_like_one_that_was_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    whole = written(path, FULL, result("a.b"), result("c.d"))
    data = path.read_bytes()
    for end in range(data.index(b"\n") + 1, len(data) + 1, 97):
        path.write_bytes(data)
        assert results.comparable(resumed_after(path, end)) == results.comparable(whole)


def test_resuming_drops_the_footer_of_an_interrupted_run(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with results.create(path, HEADER) as writer:
        writer.add(result("a.b", "not_run"))
        writer.finish(Report(HEADER, ()).make_footer(**{**FOOTER, "interrupted": True}))
    assert not results.read(path).complete
    _, writer = results.resume(path)
    with writer:
        writer.add(result("a.b"))
    assert results.read(path).results == (result("a.b"),)
    assert results.read(path).footer is None


def test_two_runs_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with results.create(path, HEADER) as writer:
        writer.add(FULL)
        with pytest.raises(UsageError, match="another run is writing"):
            results.create(path, HEADER)
        with pytest.raises(UsageError, match="another run is writing"):
            results.resume(path)
        writer.add(result("a.b"))
    assert len(results.read(path).results) == 2
    results.create(path, HEADER).close()


def test_killing_the_writer_leaves_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    script = textwrap.dedent("""
        import itertools, json, sys
        from nll_conformance import results
        from nll_conformance.model import Result
        with results.create(sys.argv[1], json.loads(sys.argv[2])) as writer:
            for i in itertools.count():
                writer.add(Result("fused_ce", "f", f"r.r{i}", 1, "must", "float32", "cpu",
                                  "pass", message="x" * 3000))
                if i == 50:
                    print("going", flush=True)
    """)
    command = [sys.executable, "-c", script, str(path), json.dumps(HEADER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    report = results.read(path)
    assert report.footer is None
    assert len(report.results) > 50
    results.resume(path)[1].close()  # and the lock died with it


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="No space left on device"):
        results.create("/dev/full", HEADER)


def test_a_full_disk_in_between_keeps_what_was_written(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "r.jsonl"
    real = os.write

    def short(number: int, data: bytes) -> int:
        if len(data) > 1000:
            return real(number, data[:1000])  # the last bytes that fit
        raise OSError(28, "No space left on device")

    with results.create(path, HEADER) as writer:
        writer.add(FULL)
        monkeypatch.setattr(os, "write", short)
        with pytest.raises(UsageError, match=r"No space left.*results before stay"):
            writer.add(result("a.b", message="x" * 1500))
        monkeypatch.undo()
    assert path.read_bytes().endswith(b"\n")
    assert results.read(path).results == (FULL,)


def test_no_file_is_left_where_the_header_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UsageError):
        results.create(tmp_path / "r.jsonl", HEADER)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_written_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        results.ensure_writable(tmp_path / "missing" / "r.jsonl")
    with pytest.raises(UsageError, match="it is a folder"):
        results.ensure_writable(tmp_path)
    results.ensure_writable(tmp_path / "r.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_somebody_s_source_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mykernel.py"
    path.write_text("def fused_ce(): ...\n")
    with pytest.raises(UsageError, match="is no results file"):
        results.create(path, HEADER)
    assert path.read_text() == "def fused_ce(): ...\n"


def test_an_older_results_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    written(path, FULL, result("a.b"))
    assert written(path, result("c.d")).results == (result("c.d"),)


def changed(**changes: object) -> str:
    return json.dumps({"kind": "result", **FULL.to_json(), "error_over_bound": 1, **changes})


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (1, '{"kind": "footer"}', "no results file: the first line must have kind 'header'"),
        (1, "hello", "malformed: expected one JSON object, found hello"),
        (1, "[1]", "expected a JSON object"),
        (1, json.dumps({**HEADER, "schema": 2}), "schema 2: this version reads schema 1"),
        (1, json.dumps({**HEADER, "implementations": 3}), "implementations must be a list"),
        (2, '{"kind": "resul"}', "unknown kind.*Did you mean 'result'.*header, result"),
        (2, "{" * 100_000, "malformed"),
        (2, json.dumps(HEADER), "a second header: two runs in one file"),
        (2, changed(outcome="passed"), "outcome is 'passed', must be one of pass, fail"),
        (2, changed(cases=True), "cases is True, must be an integer from 0"),
        (2, changed(seconds="long"), "seconds is 'long', must be a number"),
        (2, changed(rule="\x1b[2J"), "rule is .*which is no rule"),
        (2, changed(devise="cpu"), "unknown result field 'devise'. Did you mean 'device'"),
        (2, '{"kind": "result", "rule": "a.b"}', "a result without 'implementation'"),
        (3, changed(), "a second result for fused_ce values.exact float32 cpu"),
        (4, changed(), "a line after the footer"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, number: int, line: str, said: str) -> None:
    path = tmp_path / "r.jsonl"
    written(path, FULL)
    lines = path.read_text().splitlines()
    lines[number - 1 : number if number < 3 else number - 1] = [line]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=rf"r\.jsonl:{number}: .*{said}") as caught:
        results.read(path)
    assert len(str(caught.value)) < 600
    assert "\x1b" not in str(caught.value)


def test_a_binary_or_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xff\xfe\x00binary\n")
    with pytest.raises(UsageError, match="malformed"):
        results.read(path)
    with pytest.raises(UsageError, match="No such file"):
        results.read(tmp_path / "missing.jsonl")


def test_same_results_do_not_depend_on_order_or_time() -> None:
    one = Report({"seed": 1}, (FULL, result("a.b", seconds=1.0)))
    other = Report({"seed": 2}, (result("a.b", seconds=9.0), FULL))
    assert results.comparable(one) == results.comparable(other)
    differs = Report({}, (FULL, result("a.b", cases=1)))
    assert results.comparable(one) != results.comparable(differs)
