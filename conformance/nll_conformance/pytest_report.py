"""The end of a pytest run: results from many reports become reports, files and lines."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import results as files
from .lines import revive
from .model import BAD_OUTCOMES, DTYPES, Result
from .render.matrix import matrix
from .render.summary import Line, came, replay, summary
from .render.text import harmless, labelled, one_line
from .report import Report, RuleFacts

#: The run of ``--nll-impl``, and the first part of the ids of its items.
PLACE = "nll"
_UNKNOWN = RuleFacts("(this version does not know the rule)", "")


def failure_text(result: Result, header: Mapping[str, Any], rules: Mapping[str, RuleFacts]) -> str:
    """A failure in five entries: what, expected, came, a program that shows it, replay."""
    facts = rules.get(result.rule, _UNKNOWN)
    word = result.outcome.upper() if result.level == "must" else f"{result.outcome} (should)"
    who = one_line(result.implementation, 80)
    source = f" [{one_line(facts.source, 200)}]" if facts.source else ""
    lines = [f"{word} {result.rule}  {who}  {result.dtype} {result.device}"]
    lines += labelled("expected", f"{one_line(facts.sentence, 500)}{source}")
    lines += labelled("came", came(result))
    if result.reason:
        lines += labelled("note", one_line(result.reason, 400))
    program = harmless(result.reproducer, 20_000).strip()
    lines += ["  case", *(f"      {line}" for line in program.splitlines() if line)]
    lines[-1] += "" if program else "      none was kept"
    lines.append(f"  {'replay'.ljust(10)}{replay(Report(header, (result,)), result, None)}")
    return "\n".join(lines)


@dataclass
class _Run:
    """What one collection of items said: ``--nll-impl``, or one decorated test."""

    header: dict[str, Any]
    rules: dict[str, RuleFacts]
    #: The rules that there are items for.
    planned: set[str]
    strict: bool
    results: dict[tuple[str, ...], Result] = field(default_factory=dict)

    @property
    def settings(self) -> tuple[Any, ...]:
        """Runs that differ in one of these cannot share a header."""
        keys = ("profile", "mode", "seed", "rules", "isolation")
        return (*(str(self.header.get(key)) for key in keys), self.strict)

    @property
    def names(self) -> set[str]:
        """The implementations that it is about."""
        return {described["name"] for described in self.header["implementations"]}

    def ordered(self) -> tuple[Result, ...]:
        """The results in the order of the plan."""
        targets = {d["name"]: place for place, d in enumerate(self.header["implementations"])}
        rules = {rule: place for place, rule in enumerate(self.rules)}

        def place(result: Result) -> tuple[Any, ...]:
            name, rule, dtype, device = result.key
            return targets.get(name, 0), device, DTYPES.index(dtype), rules.get(rule, 0)

        return tuple(sorted(self.results.values(), key=place))

    def add(self, result: Result) -> None:
        """Keep the result; of one that was judged twice, the failure."""
        earlier = self.results.get(result.key)
        if earlier is None or earlier.outcome not in BAD_OUTCOMES:
            self.results[result.key] = result

    def join(self, other: _Run) -> None:
        """Take over what another run with the same settings said."""
        self.header["implementations"] = [
            *self.header["implementations"],
            *other.header["implementations"],
        ]
        self.header["declaration"] = {
            **self.header["declaration"],
            **other.header["declaration"],
        }
        self.rules.update(other.rules)
        self.planned |= other.planned
        for result in other.results.values():
            self.add(result)


class Gathered:
    """Results of all processes of a test run, and what becomes of them."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._reports: list[tuple[Report, Mapping[str, RuleFacts]]] = []
        self._json: Path | None = None
        self._written: list[Path] = []
        self._expected: Path | None = None
        self._added: int | None = None
        self._started = time.monotonic()

    def promise(self, json: str | None, expected: str | None) -> None:
        """Files to write at the end; raises UsageError now for one that cannot be."""
        if json:
            self._json = Path(json)
            files.ensure_writable(self._json)
        if expected:
            from .cli.check_ import writable

            writable(expected)
            self._expected = Path(expected)

    def add(self, payload: Mapping[str, Any]) -> None:
        """The result of one report; the first of each process brings the facts of its run."""
        name = payload["run"]
        if name not in self._runs and "header" in payload:
            rules = {
                rule: RuleFacts(sentence, source, tuple(needs), refusal_passes)
                for rule, (sentence, source, needs, refusal_passes) in payload["facts"].items()
            }
            self._runs[name] = _Run(
                dict(payload["header"]), rules, set(payload["planned"]), payload["strict"]
            )
        self._runs[name].add(revive(payload["result"]))

    def finish(self, *, interrupted: bool) -> None:
        """Make the reports and write the files."""
        # xdist delivers in any order; what is said in the end is always the same.
        names = sorted(self._runs, key=lambda name: (name != PLACE, name))
        for run in _merged(self._runs[name] for name in names):
            results = run.ordered()
            judged = list(dict.fromkeys(result.rule for result in results))
            if not run.planned <= set(judged):
                # What was deselected (-k, --lf) is no part of the claim.
                run.header["rules"] = judged
            report = Report(run.header, results)
            footer = report.make_footer(
                interrupted=interrupted,
                finished_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - self._started, 3),
                strict=run.strict,
            )
            self._reports.append((Report(run.header, results, footer), run.rules))
        self._write_json()
        self._write_summary()
        self._write_expected()

    @property
    def nothing_judged(self) -> bool:
        """Whether there is an implementation of which nothing at all can be said."""
        return any(
            report.verdict(name) == "not judged"
            for report, _ in self._reports
            for name in report.implementations
        )

    def _write_json(self) -> None:
        if self._json is None:
            return
        for number, (report, _) in enumerate(self._reports, 1):
            # One header cannot speak for runs with different settings.
            stem = self._json.stem if number == 1 else f"{self._json.stem}-{number}"
            path = self._json.with_name(stem + self._json.suffix)
            with files.create(path, report.header) as writer:
                for result in report.results:
                    writer.add(result)
                writer.finish(report.footer or {})
            self._written.append(path)

    def _write_summary(self) -> None:
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            return
        from .render.markdown import markdown

        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(
                markdown(report, rules, path=self._path(number))
                for number, (report, rules) in enumerate(self._reports)
            )

    def _write_expected(self) -> None:
        if self._expected is None:
            return
        from .expected import write

        results = [result for report, _ in self._reports for result in report.results]
        self._added = write(self._expected, results)

    def _path(self, number: int) -> str | None:
        return str(self._written[number]) if number < len(self._written) else None

    def lines(self) -> Iterator[Line]:
        """The summary for the terminal; a line of style ``section`` is a heading."""
        for number, (report, rules) in enumerate(self._reports):
            yield "section", "nll-conformance"
            if len(report.implementations) == 1:
                yield from (("plain", line) for line in matrix(report))
                yield "plain", ""
            yield from summary(report, rules, path=self._path(number))
        if self._added is not None:
            yield "plain", f"{self._added} expected failures added to {self._expected}"


def _merged(runs: Iterable[_Run]) -> list[_Run]:
    """Runs with the same settings about different implementations, as one."""
    merged: list[_Run] = []
    for run in runs:
        for other in merged:
            if other.settings == run.settings and not other.names & run.names:
                other.join(run)
                break
        else:
            merged.append(run)
    return merged
