"""Markdown of the same tables, for a step summary: under 1 MiB, foreign text escaped."""

from __future__ import annotations

from collections.abc import Iterator

from nll_conformance.render.markdown import LIMIT_BYTES, escaped
from nll_conformance.render.text import counted

from .frames import Frames, Row, rows_of
from .order import ordered_runs
from .regressions import Shift
from .views import history, matrix

#: Failures, shifts and notices that are told one by one.
TOLD = 50
_MARKS = {"conforms": "✅", "does not conform": "❌", "not judged": "⚪"}


def markdown(frames: Frames, subjects: list[Row], notices: list[Row], title: str) -> str:
    """The summary; what no longer fits is said to be left out."""
    parts: list[str] = []
    room = LIMIT_BYTES
    for part in _parts(frames, subjects, notices, title):
        room -= len(part.encode()) + 2
        if room < 0:
            parts.append("_More did not fit; the page has it._")
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _parts(
    frames: Frames, subjects: list[Row], notices: list[Row], title: str
) -> Iterator[str]:
    yield f"## {escaped(title)}"
    for notice in notices[:TOLD]:
        source = f"{escaped(notice['source'])}: " if notice["source"] else ""
        yield f"⚠️ {source}{escaped(notice['text'])}"
    if subjects:
        yield _verdicts(frames, subjects)
        yield from _failures(matrix.kept(frames, subjects))
    yield from _news(frames)
    yield from _detection(frames)


def _verdicts(frames: Frames, subjects: list[Row]) -> str:
    counted_columns = ("passed", "failed", "failed_should", "known", "unjudged")
    letters: dict[tuple[str, str], list[str]] = {}
    for row in rows_of(frames.accuracy):
        if any(row["run_id"] in s["run_ids"] for s in subjects):
            who = (row["implementation"], row["family"])
            letters.setdefault(who, []).append(f"{row['letter']} ({escaped(row['dtype'])})")
    lines = [
        "| | implementation | family | pass | fail | fail (should) | known | not judged | accuracy |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in subjects:
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


def _news(frames: Frames) -> Iterator[str]:
    moved, worse, last = history.summary(frames)
    if moved and last:
        yield f"Since the run before: {moved['lost']} verdicts lost, {moved['gained']} gained."
    runs = ordered_runs(frames)
    for shift in worse[:TOLD]:
        yield f"- {_shift(shift, runs)}"


def _shift(shift: Shift, runs: dict[str, Row]) -> str:
    implementation, family, dtype, device, shape, which, machine, _ = map(escaped, shift.series)
    low, high = shift.interval
    commits = "..".join(
        escaped(str(runs[point.run_id]["subject_commit"] or "?")[:12])
        for point in (shift.before, shift.after)
    )
    sure = "" if shift.confirmed else ", not yet confirmed by a second run"
    what = " ".join(part for part in (family, dtype, device, shape, which) if part)
    return (
        f"worse: {implementation} ({what}) {escaped(shift.metric)} × {shift.factor:.3g} "
        f"(interval {low:.3g} to {high:.3g}) in {commits} on {machine}{sure}"
    )


def _detection(frames: Frames) -> Iterator[str]:
    order = list(ordered_runs(frames))
    trials = sorted(rows_of(frames.trials), key=lambda row: order.index(row["run_id"]))
    if trials:
        last = trials[-1]
        yield (
            f"The suite catches {last['caught']} of {last['mutants']} mutants and flags "
            f"{last['false_alarms']} of {last['variants']} correct variants."
        )
