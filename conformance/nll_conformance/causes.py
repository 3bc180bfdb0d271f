"""What went wrong, folded: many failing results, few causes; and what was not judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .model import BAD_OUTCOMES, Level, Outcome, Result
from .report import Report, RuleFacts

#: Outcomes of which nothing can be said about the loss, in the order in which they are told.
NOT_JUDGED: tuple[Outcome, ...] = ("error", "inconclusive", "not_run", "unsupported")
#: Themes whose rules judge a loss on plain cases.
PLAIN_THEMES = ("call", "values", "gradients")
#: The theme whose rules vary everything at once.
COMBINED = "combinations"


@dataclass(frozen=True)
class Cause:
    """Failures of one implementation with one signature; ``first`` is told in full."""

    first: Result
    results: tuple[Result, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that fail for this cause, the one told in full first."""
        return tuple(dict.fromkeys([self.first.rule, *(r.rule for r in self.results)]))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes in which the rule told in full fails."""
        return tuple(dict.fromkeys(r.dtype for r in self.results if r.rule == self.first.rule))


@dataclass(frozen=True)
class Group:
    """Results that were not judged for one reason."""

    outcome: Outcome
    reason: str
    results: tuple[Result, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it is about."""
        return tuple(dict.fromkeys(r.rule for r in self.results))


def causes(results: Iterable[Result]) -> tuple[Cause, ...]:
    """The bad results, one cause for each implementation and signature of the finding.

    Causes with a must-rule come before those without; otherwise the order of the results
    stays.  The first result of a cause is a must-rule's, with a reproducer where one has it.
    """
    bad = [result for result in results if result.outcome in BAD_OUTCOMES]
    plain = {(r.implementation, _kind(r)) for r in bad if _theme(r.rule) in PLAIN_THEMES}
    folded: dict[tuple[str, ...], list[Result]] = {}
    first: dict[str, tuple[str, ...]] = {}  # by implementation
    for result in sorted(bad, key=lambda r: _theme(r.rule) == COMBINED):
        everywhere = (result.implementation, _kind(result)) in plain
        key = (result.implementation, *_signature(result, everywhere))
        known = first.setdefault(result.implementation, key)
        # Where rules that vary one thing have failed, varying everything tells nothing new.
        combined = _theme(result.rule) == COMBINED and result.outcome == "fail"
        folded.setdefault(known if combined else key, []).append(result)
    made = [
        Cause(min(group, key=lambda r: (r.level != "must", not r.reproducer)), tuple(group))
        for group in folded.values()
    ]
    return tuple(sorted(made, key=lambda cause: cause.first.level != "must"))


def _kind(result: Result) -> tuple[str, bool]:
    """The kind of the finding, and whether it is about a gradient."""
    return (result.finding, "gradient" in result.message)


def _signature(result: Result, everywhere: bool) -> tuple[str, ...]:
    """Results with equal signatures are taken to have one cause.

    Every rule varies one thing from a plain case.  So a kind of finding that plain cases
    show already explains it under every rule; otherwise each theme has a cause of its own.
    A call that raised has the exception for its cause.
    """
    if not result.finding:  # no evidence of anything in common
        return (result.outcome, result.rule)
    if result.finding == "raised":
        return (result.outcome, result.finding, re.sub(r"\d+", "0", result.message)[:120])
    kind, gradient = _kind(result)
    theme = "" if everywhere else _theme(result.rule)
    return (result.outcome, kind, str(gradient), theme)


def _theme(rule: str) -> str:
    return rule.partition(".")[0]


def not_judged(results: Iterable[Result]) -> tuple[Group, ...]:
    """The results that say nothing about the loss, grouped by outcome and reason."""
    folded: dict[tuple[Outcome, str], list[Result]] = {}
    for result in results:
        if result.outcome in NOT_JUDGED:
            why = result.reason or result.message or "no reason given"
            folded.setdefault((result.outcome, why), []).append(result)
    made = [Group(outcome, why, tuple(rs)) for (outcome, why), rs in folded.items()]
    return tuple(sorted(made, key=lambda group: NOT_JUDGED.index(group.outcome)))


def lacking(report: Report, implementation: str, rules: Mapping[str, RuleFacts]) -> tuple[str, ...]:
    """Capabilities that ``implementation`` seems not to be meant for.

    Those needed by must-rules that fail, where every failing rule that needs it fails
    because the call raised, and no rule that needs it passes but those that refusals pass.
    """
    raised: set[str] = set()
    working: set[str] = set()
    for result in report.of(implementation):
        facts = rules.get(result.rule, RuleFacts("", ""))
        refused = result.outcome in BAD_OUTCOMES and result.finding == "raised"
        if refused and result.level == "must":
            raised.update(facts.needs)
        wrong = result.outcome in BAD_OUTCOMES and not refused
        passed = result.outcome in ("pass", "unexpected_pass", "expected_failure")
        if wrong or (passed and not facts.refusal_passes):
            working.update(facts.needs)
    promised = set(report.described(implementation).get("promises", ()))
    return tuple(sorted(raised - working - promised))


def failing(results: Iterable[Result], level: Level) -> int:
    """How many results of rules of that level are bad."""
    return sum(r.outcome in BAD_OUTCOMES and r.level == level for r in results)


def themes(results: Sequence[Result]) -> tuple[str, ...]:
    """The first halves of the rule ids, in the order of the results."""
    return tuple(dict.fromkeys(_theme(r.rule) for r in results))
