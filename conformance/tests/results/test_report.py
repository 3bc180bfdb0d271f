"""The verdict: what conforms, with which exit code, said in which words."""

from __future__ import annotations

import pytest

from nll_conformance.model import Result
from nll_conformance.report import Report

HEADER = {
    "implementations": [
        {
            "name": "f",
            "family": "cross_entropy",
            "capabilities": ["weight", "ignore_index", "spatial"],
            "lacks": ["soft_target"],
        }
    ],
    "spec_version": "1.0",
    "profile": "quick",
    "rules": [],
}


def report(*outcomes: tuple[str, str], complete: bool = True, **header: object) -> Report:
    found = tuple(
        Result("f", "cross_entropy", f"t.r{i}", 1, level, dtype, "cpu", outcome)  # type: ignore[arg-type]
        for i, (level, outcome) in enumerate(outcomes)
        for dtype in ("float32", "bfloat16")
    )
    footer = {"interrupted": False} if complete else None
    return Report({**HEADER, **header}, found, footer)


@pytest.mark.parametrize(
    ("outcomes", "code", "strict"),
    [
        ([("must", "pass")], 0, 0),
        ([("must", "pass"), ("must", "fail")], 1, 1),
        ([("must", "pass"), ("must", "crash")], 1, 1),
        ([("must", "pass"), ("must", "timeout")], 1, 1),
        ([("must", "pass"), ("should", "fail")], 0, 1),
        ([("must", "pass"), ("must", "unexpected_pass")], 0, 1),
        ([("must", "pass"), ("must", "expected_failure")], 0, 0),
        ([("must", "pass"), ("must", "unsupported"), ("must", "inconclusive")], 0, 0),
        ([("must", "fail"), ("should", "error")], 3, 3),
        ([("must", "pass"), ("must", "error")], 3, 3),
        ([("must", "not_run")], 1, 1),
        ([("must", "unsupported"), ("should", "pass")], 1, 1),
        ([], 1, 1),
    ],
)
def test_exit_codes(outcomes: list[tuple[str, str]], code: int, strict: int) -> None:
    found = report(*outcomes)
    assert (found.exit_code(), found.exit_code(strict=True)) == (code, strict)
    assert found.conforms == (code == 0)


def test_conforming_is_said_with_what_was_judged() -> None:
    found = report(("must", "pass"))
    assert found.conformance_sentence("f") == (
        "conforms: cross_entropy [weight, ignore_index, spatial; lacks soft_target], "
        "float32, bfloat16, cpu, spec 1.0, quick"
    )


def test_the_sentence_claims_no_more_than_is_known() -> None:
    says = {
        "does not conform:": report(("must", "fail")),
        "not judged:": report(("must", "unsupported")),
        "cut short, no failure so far:": report(("must", "pass"), complete=False),
        "quick; 2 expected failures": report(("must", "pass"), ("must", "expected_failure")),
        "only rules mask.*": report(("must", "pass"), rules=["mask.*"]),
    }
    for words, found in says.items():
        assert words in found.conformance_sentence("f")


def test_an_implementation_that_was_not_judged_does_not_spoil_the_others() -> None:
    both = Report(
        {"implementations": [{"name": "f"}, {"name": "absent"}]},
        (
            Result("f", "nll", "a.b", 1, "must", "float32", "cpu", "pass"),
            Result("absent", "nll", "a.b", 1, "must", "float32", "cpu", "not_run"),
        ),
    )
    assert both.conforms
    assert both.verdict("absent") == "not judged"


def test_the_footer_counts_by_outcome_and_level() -> None:
    found = report(("must", "pass"), ("should", "fail"))
    footer = found.make_footer(interrupted=False, finished_at="now", seconds=1.0)
    assert footer["counts"] == {"fail": 2, "pass": 2}
    assert footer["levels"] == {"must": {"pass": 2}, "should": {"fail": 2}}
    assert (footer["conforms"], footer["exit_code"]) == (True, 0)
