"""Markdown for a CI step summary: verdicts, causes, what was not judged; under 1 MiB.

Every text of a loss under test is escaped, so that it is neither markup nor a link.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from ..causes import Cause, causes, failing, not_judged
from ..model import LEVELS
from ..report import Report, RuleFacts
from .summary import came, replay
from .text import counted, harmless, named, one_line

#: Bytes of a step summary; its hosts refuse more than 1 MiB.
LIMIT_BYTES = 900_000
_FULL = 20
#: What starts markup, a reference or a link anywhere in a line (GFM links bare addresses).
_MARKUP = re.compile(
    r"[\[\]<>&|*`~\\#!$@{}^]|:(?=\S)|(?<=www)\.|(?<![a-z0-9])_|_(?![a-z0-9])", re.IGNORECASE
)
_MARKS = {"conforms": "✅", "does not conform": "❌", "not judged": "⚪"}


def escaped(text: str, limit: int = 400) -> str:
    """``text`` on one line in which nothing is markup: specials as character references."""
    return _MARKUP.sub(lambda match: f"&#{ord(match.group())};", one_line(text, limit))


def fenced(text: str, language: str = "", limit: int = 8000) -> str:
    """``text`` as a code block that it cannot end."""
    shown = harmless(text, limit).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def markdown(report: Report, rules: Mapping[str, RuleFacts], *, path: str | None = None) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts: list[str] = []
    room = LIMIT_BYTES
    for part in _parts(report, rules, path):
        room -= len(part.encode()) + 2
        if room < 0:
            parts.append("_More did not fit; the results file has it._")
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _parts(report: Report, rules: Mapping[str, RuleFacts], path: str | None) -> Iterator[str]:
    yield "## nll-conformance"
    yield _verdicts(report)
    if not report.complete:
        yield "⚠️ The run was cut short."
    found = causes(report.results)
    for cause in found[:_FULL]:
        yield _cause(report, cause, rules, path)
    if len(found) > _FULL:
        yield f"{counted(len(found) - _FULL, 'more cause')} not shown."
    groups = not_judged(report.results)
    if groups:
        rows = [
            f"| {group.outcome} | {escaped(named(group.rules))} | {escaped(group.reason)} |"
            for group in groups[:50]
        ]
        table = ["| not judged | rules | why |", "|---|---|---|", *rows]
        yield "\n".join(table)


def _verdicts(report: Report) -> str:
    rows = [
        "| | implementation | pass | fail | fail (should) | known | verdict |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for name in report.implementations:
        counts = Counter(r.outcome for r in report.of(name))
        must, should = (failing(report.of(name), level) for level in LEVELS)
        sentence = escaped(report.conformance_sentence(name), 1000)
        rows.append(
            f"| {_MARKS[report.verdict(name)]} | {escaped(name, 80)} | {counts['pass']} | "
            f"{must} | {should} | {counts['expected_failure']} | {sentence} |"
        )
    return "\n".join(rows)


def _cause(report: Report, cause: Cause, rules: Mapping[str, RuleFacts], path: str | None) -> str:
    first = cause.first
    facts = rules.get(first.rule, RuleFacts("", ""))
    source = f" ({escaped(facts.source)})" if facts.source else ""
    who = f"{escaped(first.rule)}, {escaped(first.implementation, 80)}"
    where = escaped(", ".join(cause.dtypes))
    lines = [
        f"### {first.outcome}: {who}, {where} ({first.level})",
        "",
        f"- expected: {escaped(facts.sentence)}{source}",
        f"- came: {escaped(came(first))}",
    ]
    more = len(cause.rules) - 1
    if more:
        which = escaped(named(cause.rules[1:], 10))
        lines.append(f"- {counted(more, 'more rule')} for the same reason: {which}")
    if first.reproducer:
        lines += ["", fenced(first.reproducer, "python")]
    return "\n".join([*lines, "", fenced(replay(report, first, path), "sh")])
