"""Markdown of the same tables, for a step summary: under 1 MiB, foreign text escaped."""

from __future__ import annotations

from collections.abc import Iterator

from nll_conformance.render.markdown import LIMIT_BYTES, escaped
from nll_conformance.render.text import counted

from .analysis import Analysis
from .frames import Row, rows_of
from .regressions import Shift
from .views import history

#: Failures, shifts and notices that are told one by one, and implementations.
TOLD, LISTED = 50, 500
_MARKS = {"conforms": "✅", "does not conform": "❌", "not judged": "⚪"}


def markdown(found: Analysis, title: str) -> str:
    """The summary; what no longer fits is said to be left out."""
    parts: list[str] = []
    room = LIMIT_BYTES
    for part in _parts(found, title):
        room -= len(part.encode()) + 2
        if room < 0:
            parts.append("_More did not fit; the page has it._")
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _parts(found: Analysis, title: str) -> Iterator[str]:
    yield f"## {escaped(title)}"
    for notice in found.notices[:TOLD]:
        source = f"{escaped(notice['source'])}: " if notice["source"] else ""
        yield f"⚠️ {source}{escaped(notice['text'])}"
    if found.subjects:
        yield _verdicts(found)
        if len(found.subjects) > LISTED:
            yield f"{counted(len(found.subjects) - LISTED, 'more implementation')} not shown."
        yield from _failures(found.results)
    yield from _news(found)
    yield from _detection(found)


def _verdicts(found: Analysis) -> str:
    counted_columns = ("passed", "failed", "failed_should", "known", "unjudged")
    letters: dict[tuple[str, str], list[str]] = {}
    for row in found.accuracy:
        who = (row["implementation"], row["family"])
        letters.setdefault(who, []).append(f"{row['letter']} ({escaped(row['dtype'])})")
    lines = [
        "| | implementation | family | pass | fail | should | known | unjudged | accuracy |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    # What fails stands before the place at which a long list ends.
    order = sorted(found.subjects, key=lambda row: row["verdict"] != "does not conform")
    for row in order[:LISTED]:
        who = (row["implementation"], row["family"])
        counts = " | ".join(str(row[column]) for column in counted_columns)
        accuracy = ", ".join(sorted(set(letters.get(who, ()))))
        lines.append(
            f"| {_MARKS[row['verdict']]} | {escaped(who[0], 80)} | {escaped(who[1])} | "
            f"{counts} | {accuracy} |"
        )
    return "\n".join(lines)


def _failures(results: list[Row]) -> Iterator[str]:
    bad = [row for row in results if row["outcome"] in ("fail", "crash", "timeout")]
    bad.sort(key=lambda row: row["level"] != "must")
    if not bad:
        return
    lines = ["| failing | rule | dtype | what |", "|---|---|---|---|"]
    for row in bad[:TOLD]:
        should = " (should)" if row["level"] == "should" else ""
        lines.append(
            f"| {escaped(row['implementation'], 80)} | {escaped(row['rule'])}{should} | "
            f"{escaped(row['dtype'])} | {escaped(row['message'], 200)} |"
        )
    yield "\n".join(lines)
    if len(bad) > TOLD:
        yield f"{counted(len(bad) - TOLD, 'more failure')} not shown."


def _news(found: Analysis) -> Iterator[str]:
    moved, worse = history.news(found)
    if moved:
        yield f"Since the run before: {moved['lost']} verdicts lost, {moved['gained']} gained."
    for shift in worse[:TOLD]:
        yield f"- {_shift(shift, found.runs)}"


def _shift(shift: Shift, runs: dict[str, Row]) -> str:
    implementation, family, dtype, device, shape, which, machine, _ = map(escaped, shift.series)
    low, high = shift.interval
    commits = "..".join(
        escaped(str(runs[run_id]["subject_commit"] or "?")[:12])
        for run_id in (shift.last_run, shift.after.run_id)
    )
    sure = "" if shift.confirmed else ", not yet confirmed by a second run"
    what = " ".join(part for part in (family, dtype, device, shape, which) if part)
    return (
        f"worse: {implementation} ({what}) {escaped(shift.metric)} "
        f"{shift.factor:.3g} times as much (interval {low:.3g} to {high:.3g}) "
        f"in {commits} on {machine}{sure}"
    )


def _detection(found: Analysis) -> Iterator[str]:
    order = list(found.runs)
    trials = sorted(rows_of(found.frames.trials), key=lambda row: order.index(row["run_id"]))
    if trials:
        last = trials[-1]
        yield (
            f"The suite catches {last['caught']} of {last['mutants']} mutants and flags "
            f"{last['false_alarms']} of {last['variants']} correct variants."
        )
