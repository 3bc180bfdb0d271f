"""The summary that ends a run, as lines of text with the name of a style each.

Written for a reader who has never seen the suite: what is wrong, who says so, a program to
paste, the next command.  Nothing here knows of a terminal; :mod:`.terminal` prints it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ..causes import Cause, causes, lacking, not_judged
from ..model import Result
from ..report import Report, RuleFacts
from .matrix import matrix
from .text import counted, ending, harmless, labelled, named, one_line, shell

Line: TypeAlias = tuple[str, str]

#: Causes told in full; the rest is counted.
FULL_CAUSES = 3
#: Reasons for not judging that are told; the rest is counted.
REASONS = 6
_UNKNOWN = RuleFacts("(this version does not know the rule)", "")
_WORD = {
    "error": "suite failed on",
    "inconclusive": "inconclusive",
    "not_run": "not run",
    "unsupported": "unsupported",
}


def summary(
    report: Report,
    rules: Mapping[str, RuleFacts],
    *,
    path: str | None = None,
    full: int = FULL_CAUSES,
) -> list[Line]:
    """``(style, text)`` for each line; ``path`` is the results file, where one was written.

    Styles: title, bad, good, warn, label, code, plain.
    """
    lines = [("title", text) for text in _title(report)]
    if len(report.implementations) > 1:
        lines += [("plain", text) for text in ("", *matrix(report))]
    found = causes(report.results)
    for cause in found[:full]:
        lines += [("plain", ""), *_cause(report, cause, rules, path)]
    lines += _further(found[full:])
    lines += _not_judged(report)
    lines.append(("plain", ""))
    for name in report.implementations:
        lines += _verdict(report, name, rules)
    lines += [("plain", text) for text in _next(report, found, path)]
    # names and header of a file that somebody sent are foreign text too
    return [(style, harmless(text).replace("\n", "\\n")) for style, text in lines]


def _title(report: Report) -> Iterator[str]:
    header = report.header
    for described in header.get("implementations", ())[:1]:
        if len(report.implementations) > 1:
            break
        assumed = " (assumed)" if described.get("family_assumed") else ""
        yield one_line(
            f"{described['name']}: {described.get('family', '?')}{assumed}, "
            f"declaration: {described.get('declaration', '?')}",
            200,
        )
    dtypes = dict.fromkeys(r.dtype for r in report.results)
    devices = dict.fromkeys(r.device for r in report.results)
    several = len(report.implementations)
    random = "random " if header.get("mode") == "random" else ""
    yield ", ".join(
        [
            *([counted(several, "implementation")] if several > 1 else []),
            *dtypes,
            *devices,
            f"profile {header.get('profile', '?')}",
            f"{random}seed {header.get('seed', '?')}",
        ]
    )
    if not report.complete:
        yield f"cut short: {counted(len(report.results), 'result')} before the run ended"


def _cause(
    report: Report, cause: Cause, rules: Mapping[str, RuleFacts], path: str | None
) -> Iterator[Line]:
    """Five entries: what failed, what was expected, what came, the case, the replay."""
    first = cause.first
    facts = rules.get(first.rule, _UNKNOWN)
    style = "bad" if first.level == "must" else "warn"
    word = first.outcome.upper() if first.level == "must" else f"{first.outcome} (should)"
    where = f"{ending(first.implementation, 80)}  {', '.join(cause.dtypes)} {first.device}"
    yield style, f"{word} {first.rule}  {where}"
    source = f" [{one_line(facts.source, 200)}]" if facts.source else ""
    yield from _entry("expected", f"{one_line(facts.sentence, 500)}{source}")
    yield from _entry("came", came(first))
    if first.reason:  # of an expected failure that is none any more
        known = f"{first.reason} ({first.link})" if first.link else first.reason
        yield from _entry("known", one_line(known, 400))
    yield from _case(first)
    yield "label", f"  {'replay'.ljust(10)}{replay(report, first, path)}"
    others = len(cause.rules) - 1
    if others:
        verb = "fails" if others == 1 else "fail"
        yield from (
            ("plain", text)
            for text in labelled(
                "",
                f"{others} more {'rule' if others == 1 else 'rules'} {verb} for the same "
                f"reason: {named(cause.rules[1:])}",
                indent=2,
            )
        )


def _entry(label: str, text: str) -> Iterator[Line]:
    yield from (("label", line) for line in labelled(label, text))


def came(result: Result) -> str:
    """What the loss did, and how far off it was where that was measured."""
    text = one_line(result.message, 400) or f"ended as {result.outcome}"
    over = result.error_over_bound
    if over is None or not 1 < over < math.inf or "times the bound" in text:
        return text
    return f"{text} ({over:.3g} times the bound)"


def _case(result: Result) -> Iterator[Line]:
    program = harmless(result.reproducer, 20_000).strip()
    if not program:
        yield "label", f"  {'case'.ljust(10)}none was kept"
        return
    yield "label", "  case"
    for line in program.splitlines():
        if line:  # compact: the program's own empty lines say nothing here
            yield "code", f"      {line}"


def replay(report: Report, result: Result, path: str | None) -> str:
    """The command that judges that rule again."""
    if path is not None:
        return shell("nll-conformance", "replay", path, result.rule)
    described = report.described(result.implementation)
    words = ["check", str(described.get("target", result.implementation))]
    if described.get("family"):
        words += ["--family", str(described["family"])]
    words += ["--rules", result.rule, "--dtype", result.dtype, "--device", result.device]
    words += ["--profile", str(report.header.get("profile", "standard"))]
    words += ["--random"] if report.header.get("mode") == "random" else []
    return shell("nll-conformance", *words, "--seed", str(report.header.get("seed", 0)))


def _further(rest: tuple[Cause, ...]) -> Iterator[Line]:
    if not rest:
        return
    rules = tuple(dict.fromkeys(rule for cause in rest for rule in cause.rules))
    text = f"{counted(len(rest), 'more cause')}, failing {named(rules)}"
    yield "plain", ""
    yield from (("warn", line) for line in labelled("", text, indent=0))


def _not_judged(report: Report) -> Iterator[Line]:
    groups = not_judged(report.results)
    if not groups:
        return
    yield "plain", ""
    yield "title", "Not judged"
    for group in groups[:REASONS]:
        what = f"{_WORD[group.outcome]} {counted(len(group.rules), 'rule')}"
        style = "bad" if group.outcome == "error" else "plain"
        line = f"  {what}: {one_line(group.reason, 200)} ({named(group.rules, 2)})"
        yield style, line if len(line) <= 80 else f"{line[:77]}..."
    if len(groups) > REASONS:
        yield "plain", f"  and {counted(len(groups) - REASONS, 'more reason')}"


def _verdict(report: Report, name: str, rules: Mapping[str, RuleFacts]) -> Iterator[Line]:
    several = len(report.implementations) > 1
    who = f"{ending(name, 80)} " if several else ""
    style = {"conforms": "good", "does not conform": "bad"}.get(report.verdict(name), "warn")
    sentence = f"{who}{one_line(report.conformance_sentence(name), 1000)}"
    yield style, sentence  # on one line however long: people search for it
    lacks = lacking(report, name, rules)
    if lacks:
        text = f"if {ending(name, 80)} is not meant for that: --lacks {','.join(lacks)}"
        yield "label", text


def _next(report: Report, found: tuple[Cause, ...], path: str | None) -> Iterator[str]:
    if any(r.outcome == "error" for r in report.results):
        yield "The suite itself failed on some rules: please report that as a bug of the suite."
    stale = sum(r.outcome == "unexpected_pass" for r in report.results)
    if stale:
        yield f"{counted(stale, 'expected failure')} passed: remove what is no longer true."
    if not found:
        return
    if path is not None:
        yield f"next: {shell('nll-conformance', 'replay', path, found[0].first.rule)}"
    else:
        rule = found[0].first.rule
        yield f"next: nll-conformance explain {rule}"
        yield "      (--json FILE keeps the results, for replay, diff and report)"
