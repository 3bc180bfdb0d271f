"""JUnit XML, for the CI systems that show it: a suite per implementation, a case per result."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ..model import BAD_OUTCOMES, Result
from ..report import Report
from .summary import came
from .text import harmless, one_line

#: Characters of one failure's text.
_TEXT = 20_000
_SKIPPED = ("unsupported", "inconclusive", "not_run", "expected_failure")


def junit(report: Report) -> str:
    """The report as one XML document, an ASCII text."""
    root = ET.Element("testsuites", name="nll-conformance")
    for name in report.implementations:
        root.append(_suite(report, name))
    totals = ("tests", "failures", "errors", "skipped")
    for total in totals:
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in root)))
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=False)
    return f'<?xml version="1.0" encoding="us-ascii"?>\n{body.decode("ascii")}\n'


def _suite(report: Report, name: str) -> ET.Element:
    results = report.of(name)
    suite = ET.Element("testsuite", name=one_line(name, 200))
    header = report.header
    suite.set("timestamp", one_line(str(header.get("started_at", "")), 40))
    suite.set("time", f"{sum(r.seconds for r in results):.3f}")
    properties = ET.SubElement(suite, "properties")
    facts = ("suite_version", "spec_version", "profile", "mode", "seed", "subject_commit")
    for key in facts:
        if header.get(key) is not None:
            _property(properties, key, str(header[key]))
    _property(properties, "conformance", report.conformance_sentence(name))
    cases = [_case(result) for result in results]
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    tags = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for total, tag in tags.items():
        suite.set(total, str(sum(case.find(tag) is not None for case in cases)))
    return suite


def _property(parent: ET.Element, name: str, value: str) -> None:
    ET.SubElement(parent, "property", name=name, value=one_line(value, 1000))


def identifier(result: Result) -> str:
    """``rule-dtype``, with the device where that is not the CPU."""
    device = "" if result.device == "cpu" else f"-{result.device}"
    return f"{result.rule}-{result.dtype}{device}"


def _case(result: Result) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=one_line(result.implementation, 200),
        name=one_line(identifier(result), 200),
        time=f"{result.seconds:.3f}",
    )
    properties = ET.SubElement(case, "properties")
    for key in ("implementation", "family", "rule", "dtype", "device", "level", "outcome"):
        _property(properties, key, str(getattr(result, key)))
    if result.outcome in BAD_OUTCOMES:
        # a failed should-rule is told, but only must-rules turn a build red
        tag = "failure" if result.level == "must" else "skipped"
        _said(case, tag, result, came(result))
    elif result.outcome == "error":
        _said(case, "error", result, result.message or "the suite itself failed")
    elif result.outcome in _SKIPPED:
        reason = result.reason or result.message
        _said(case, "skipped", result, f"{result.outcome}: {reason} {result.link}".strip())
    return case


def _said(case: ET.Element, tag: str, result: Result, message: str) -> None:
    element = ET.SubElement(case, tag, message=one_line(message, 1000))
    if tag != "skipped":
        element.set("type", result.outcome)
    elif result.level == "should" and result.outcome in BAD_OUTCOMES:
        element.set("message", f"should-rule, {result.outcome}: {one_line(message, 1000)}")
    if tag != "skipped" or result.reproducer:
        element.text = harmless(f"{result.message}\n\n{result.reproducer}".strip(), _TEXT)
