"""JUnit, Markdown and badge say what the report says, whatever foreign text holds."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from invented_reports import FACTS, FAILING, HOSTILE, PROGRAM, report, result

from nll_conformance.model import OUTCOMES
from nll_conformance.render.badge import badge
from nll_conformance.render.junit import junit
from nll_conformance.render.markdown import LIMIT_BYTES, escaped, fenced, markdown

HOSTILE_REPORT = report(
    *(
        result(
            f"a.{outcome}",
            outcome,
            implementation=HOSTILE,
            message=HOSTILE,
            reason=HOSTILE,
            link=HOSTILE,
            finding=HOSTILE,
            reproducer=HOSTILE,
        )
        for outcome in OUTCOMES
    ),
    seed=HOSTILE,
)


def suites(found: object) -> list[ET.Element]:
    return list(ET.fromstring(junit(found)))  # type: ignore[arg-type]


def test_junit_has_a_suite_for_each_implementation_and_a_case_for_each_result() -> None:
    both = suites(report(*FAILING, result("values.exact", implementation="torch")))
    assert [suite.get("name") for suite in both] == ["fused_ce", "torch"]
    assert both[0].get("tests") == str(len(FAILING))
    # 15 folded, the second dtype, two that raised, a death and a time-out
    assert (both[0].get("failures"), both[0].get("skipped")) == ("20", "4")


def test_junit_cases_carry_the_join_keys() -> None:
    case = suites(report(result("values.exact", dtype="bfloat16")))[0].find("testcase")
    assert case is not None
    assert case.get("name") == "values.exact-bfloat16"
    keys = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert keys["implementation"] == "fused_ce"
    assert (keys["rule"], keys["dtype"], keys["device"]) == ("values.exact", "bfloat16", "cpu")


@pytest.mark.parametrize(
    ("outcome", "level", "tag"),
    [
        ("pass", "must", None),
        ("unexpected_pass", "must", None),
        ("fail", "must", "failure"),
        ("crash", "must", "failure"),
        ("fail", "should", "skipped"),
        ("error", "should", "error"),
        ("expected_failure", "must", "skipped"),
        ("unsupported", "must", "skipped"),
        ("not_run", "must", "skipped"),
    ],
)
def test_junit_outcomes(outcome: str, level: str, tag: str | None) -> None:
    (suite,) = suites(report(result("a.b", outcome, level=level, reason="why", message="m")))
    (case,) = suite.iter("testcase")
    tags = [child for child in case if child.tag != "properties"]
    assert [child.tag for child in tags] == ([tag] if tag else [])
    if tag == "skipped" and level == "must":
        assert tags[0].get("message") == f"{outcome}: why"


def test_junit_survives_hostile_text() -> None:
    (suite,) = suites(HOSTILE_REPORT)
    assert len(suite.findall("testcase")) == len(OUTCOMES)
    assert not list(suite.iter("script"))
    assert len(junit(report(result("a.b", "fail", message="x" * 5_000_000)))) < 100_000


def test_markdown_tells_verdict_cause_and_case() -> None:
    shown = markdown(report(*FAILING), FACTS, path="r.jsonl")
    assert "| ❌ | fused_ce | 2 | 20 | 1 | 0 | does not conform: cross_entropy &#91;weight" in shown
    assert "### fail: gradients.plain, fused_ce, float32, bfloat16 (must)" in shown
    assert f"```python\n{PROGRAM.strip()}\n```" in shown
    assert "nll-conformance replay r.jsonl gradients.plain" in shown
    assert "- 14 more rules for the same reason: mask.r0," in shown
    assert "| unsupported | soft_target.values, soft_target.gradient | lacks soft_target |" in (
        shown
    )


def test_markdown_escapes_all_that_is_markup() -> None:
    shown = escaped("a_b _c_ *d* `e` <b> | [f](g) @h #1 https://evil.example www.x.org\n- i")
    assert not re.search(r"[*`<>|\[\]@\n]|://|www\.|(?<!&)#", shown)
    assert shown.startswith("a_b &#95;c&#95; ")


def test_markdown_is_safe_against_hostile_text() -> None:
    shown = markdown(HOSTILE_REPORT, FACTS)
    assert "\x1b" not in shown and "\x00" not in shown
    shown.encode()
    fences = re.findall(r"(?s)\n(`{3,})\w*\n(.*?)\n\1(?=\n|$)", shown)
    outside = re.sub(r"(?s)\n(`{3,})\w*\n(.*?)\n\1(?=\n|$)", "", shown)
    assert fences
    assert "<" not in outside and "`" not in outside and "https:" not in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {8, 4}


def test_a_code_block_cannot_be_ended_from_inside() -> None:
    shown = fenced("x\n````\n</details>\n``````")
    assert shown.startswith("```````\n") and shown.endswith("\n```````")


def test_markdown_stays_under_the_limit_of_a_step_summary() -> None:
    huge = [
        result(
            f"a.r{i}",
            "fail",
            implementation=f"implementation {i} " + "é" * 70,
            message="é" * 10_000,
            reproducer="é" * 100_000,
        )
        for i in range(3000)
    ]
    shown = markdown(report(*huge), FACTS)
    assert len(shown.encode()) <= LIMIT_BYTES + 1000 < 2**20


@pytest.mark.parametrize(
    ("found", "message", "color"),
    [
        (report(result("a.b")), "conforms (spec 1.0, quick)", "brightgreen"),
        (report(*FAILING), "19 rules failing (spec 1.0, quick)", "red"),
        (report(result("a.b"), complete=False), "cut short", "lightgrey"),
        (report(result("a.b", "error")), "suite error", "lightgrey"),
        (report(result("a.b", "unsupported")), "not judged", "lightgrey"),
        (
            report(result("a.b"), result("c.d", "expected_failure")),
            "conforms, 1 known failure (spec 1.0, quick)",
            "green",
        ),
    ],
)
def test_badge(found: object, message: str, color: str) -> None:
    shown = json.loads(badge(found))  # type: ignore[arg-type]
    assert shown["schemaVersion"] == 1
    assert (shown["message"], shown["color"]) == (message, color)
