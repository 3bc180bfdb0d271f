"""Expected failures excuse what they name, for as long as they say, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from nll_conformance import expected
from nll_conformance.errors import UsageError
from nll_conformance.expected import Entry, apply
from nll_conformance.model import Expected, Implementation, Result

TODAY = dt.date(2026, 6, 1)
CASE = {
    "family": "cross_entropy",
    "rule": "values.exact",
    "recipe": {"input": {"regime": "ramp", "shape": [2], "edits": [[[None], "nan"]]}},
    "options": {"reduction": "it's"},
    "upstream": None,
    "dtype": "float32",
    "device": "cpu",
}


def result(outcome: str = "fail", rule: str = "values.exact", **fields: object) -> Result:
    dtype = fields.pop("dtype", "float32")
    start = ("fused", "cross_entropy", rule, 1, "must", dtype, "cpu", outcome)
    return Result(*start, **fields)  # type: ignore[arg-type]


def entry(**fields: object) -> Entry:
    return Entry(
        "fused",
        Expected(**{"rule": "values.exact", "reason": "known", "link": "url", **fields}),  # type: ignore[arg-type]
        "file, entry 1",
    )


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "expected.toml"
    path.write_text(text)
    return path


GOOD = """
# a comment
[[expected]]
implementation = "fused"
rule = "values.exact"
reason = "half precision sums"
link = "https://example.org/1"
expires = 2026-12-31

[[expected]]
implementation = "fused"
rule = "values.exact"
dtype = "bfloat16"
device = "cpu"
outcome = "crash"
reason = "kernel asserts"
expires = "2027-01-01"
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    first, second = expected.load(file(tmp_path, GOOD), rules=["values.exact"])
    assert first.expected == Expected(
        "values.exact",
        reason="half precision sums",
        link="https://example.org/1",
        expires="2026-12-31",
    )
    assert (second.expected.dtype, second.expected.outcome) == ("bfloat16", "crash")
    assert second.origin.endswith("expected.toml, entry 2")


def test_former_ids_lead_to_present_ones(tmp_path: Path) -> None:
    path = file(tmp_path, GOOD)
    found = expected.load(path, rules=["a.b"], aliases={"values.exact": "a.b"})
    assert {one.expected.rule for one in found} == {"a.b"}


BASE = {"implementation": "fused", "rule": "values.exact", "reason": "known"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": None}, "rule is missing; required are implementation, rule, reason"),
        ({"reason": None}, "reason is missing"),
        ({"reason": "  "}, "reason is empty"),
        ({"rule": "values.exat"}, "unknown rule 'values.exat'. Did you mean 'values.exact'"),
        ({"implementation": "fussed"}, "unknown implementation.*Did you mean 'fused'"),
        ({"dtype": "float23"}, "unknown dtype 'float23'. Did you mean 'float32'.*bfloat16"),
        ({"device": "gpu"}, "unknown device 'gpu'.*cpu, cuda"),
        ({"outcome": "fails"}, "unknown outcome 'fails'. Did you mean 'fail'"),
        ({"outcome": "pass"}, "unknown outcome 'pass'.*crash, fail, timeout"),
        ({"because": "x"}, "unknown key 'because'.*reason"),
        ({"dtype": 32}, "dtype is 32, must be a string"),
        ({"expires": "soon"}, "expires is 'soon', must be a date such as 2027-01-31"),
        ({"expires": 3}, "expires is 3, must be a date"),
        ({"case": "{"}, "case is no valid JSON"),
        ({"case": "{}"}, "case lacks device, dtype, family"),
        ({"case": 3}, "case must be"),
    ],
)
def test_a_mistake_names_file_entry_and_choices(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    fields = {key: value for key, value in {**BASE, **change}.items() if value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    good = [f"{key} = {json.dumps(value)}" for key, value in BASE.items()]
    text = "\n".join(["[[expected]]", *good, 'dtype = "float64"', "[[expected]]", *lines])
    with pytest.raises(UsageError, match=rf"expected\.toml, entry 2: {said}"):
        expected.load(file(tmp_path, text), rules=["values.exact"], implementations=["fused"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[expected]\n", "malformed TOML: .*line 1"),
        ("[expected]\n", "two brackets"),
        ("[[expectd]]\n", "unknown table 'expectd'. Did you mean 'expected'"),
        (GOOD + GOOD, "entry 3: repeats entry 1"),
        ("expected = [1]", "entry 1: not a table"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"expected\.toml.*{said}"):
        expected.load(file(tmp_path, text))


def test_a_file_that_is_no_text_or_missing(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        expected.load(tmp_path / "x.toml")
    with pytest.raises(UsageError, match="No such file"):
        expected.load(tmp_path / "y.toml")


def test_an_excused_failure_is_expected_with_its_reason() -> None:
    seen = apply(result(message="off by one"), [entry()], TODAY)
    assert (seen.outcome, seen.reason, seen.link) == ("expected_failure", "known", "url")
    assert seen.message == "off by one"


@pytest.mark.parametrize("other", [{"rule": "a.b"}, {"dtype": "float64"}, {"device": "cuda"}])
def test_another_result_is_not_excused(other: dict[str, object]) -> None:
    assert apply(result(), [entry(**other)], TODAY) == result()
    assert apply(result(), [Entry("other", Expected("values.exact"))], TODAY) == result()


def test_another_outcome_than_expected_is_not_excused() -> None:
    assert apply(result("crash"), [entry(outcome="crash")], TODAY).outcome == ("expected_failure")
    seen = apply(result("crash"), [entry()], TODAY)
    assert seen.outcome == "crash"
    assert seen.reason == "expected outcome fail, came crash (file, entry 1)"


def test_an_expired_entry_is_reported_and_excuses_nothing() -> None:
    last, over = entry(expires="2026-06-01"), entry(expires="2026-05-31")
    assert apply(result(), [last], TODAY).outcome == "expected_failure"
    seen = apply(result(), [over], TODAY)
    assert seen.outcome == "fail"
    assert "expired on 2026-05-31" in seen.reason
    assert expected.expired([last, over], TODAY) == (over,)
    assert apply(result("pass"), [over], TODAY, case_run=True).outcome == "pass"


def test_a_pass_is_stale_only_where_the_entry_s_own_case_was_run() -> None:
    known = entry(case=CASE)
    assert apply(result("pass"), [known], TODAY, case_run=True).outcome == "unexpected_pass"
    assert apply(result("pass"), [known], TODAY).outcome == "pass"
    assert apply(result("pass"), [entry()], TODAY, case_run=True).outcome == "pass"


@pytest.mark.parametrize("outcome", ["unsupported", "inconclusive", "not_run", "error"])
def test_what_was_not_judged_is_neither_excused_nor_stale(outcome: str) -> None:
    seen = apply(result(outcome), [entry(case=CASE)], TODAY, case_run=True)
    assert seen.outcome == outcome


def test_a_declaration_carries_its_own_entries() -> None:
    loss = Implementation("fused", lambda: max, "nll", expected=(Expected("values.exact"),))
    (only,) = expected.declared(loss)
    assert only.covers(result())


HOSTILE = 'say """ \'\'\' \\ \x7f \x00 \udcff\n[[expected]]\nrule = "x"'


def test_what_is_written_is_read_back_and_excuses_all(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    bad = [
        result("crash", "b.b", message=""),
        result(message=HOSTILE, counterexample=CASE),
        result(message="other", dtype="bfloat16"),
    ]
    assert expected.write(path, [*bad, result("pass", "c.c"), result("unsupported", "d.d")]) == 3
    entries = expected.load(path)
    assert [apply(one, entries, TODAY).outcome for one in bad] == ["expected_failure"] * 3
    assert [one.expected.rule for one in entries] == ["b.b", "values.exact", "values.exact"]
    assert entries[2].expected.case == CASE
    assert "TODO" not in path.read_text()
    schema = json.loads(
        (resources.files("nll_conformance") / "schemas/expected.schema.json").read_text()
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(path.read_text()), schema)


def test_writing_is_deterministic_and_keeps_what_is_there(tmp_path: Path) -> None:
    path = file(tmp_path, GOOD)
    bad = [result(), result(rule="b.b", message="n"), result(rule="a.a", message="n")]
    assert expected.write(path, bad) == 2
    text = path.read_text()
    assert text.startswith(GOOD)
    assert text.index('"a.a"') < text.index('"b.b"')
    assert expected.write(path, reversed(bad)) == 0
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_malformed_or_unwritable_file_is_left_alone(tmp_path: Path) -> None:
    path = file(tmp_path, "[[expected]\n")
    with pytest.raises(UsageError):
        expected.write(path, [result()])
    assert path.read_text() == "[[expected]\n"
    with pytest.raises(UsageError, match="cannot write expected failures"):
        expected.write(tmp_path / "missing" / "e.toml", [result()])
