"""What went wrong, folded: many failing results, few causes; and what was not judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .model import BAD_OUTCOMES, Outcome, Result
from .report import Report, RuleFacts

#: Outcomes of which nothing can be said about the loss, in the order in which they are told.
NOT_JUDGED: tuple[Outcome, ...] = ("error", "inconclusive", "not_run", "unsupported")


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
    folded: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.outcome in BAD_OUTCOMES:
            # without a signature of its own a result is no evidence of a common cause
            signature = result.finding or f"{result.outcome} {result.rule}"
            key = (result.implementation, result.outcome, signature)
            folded.setdefault(key, []).append(result)
    made = [
        Cause(min(group, key=lambda r: (r.level != "must", not r.reproducer)), tuple(group))
        for group in folded.values()
    ]
    return tuple(sorted(made, key=lambda cause: cause.first.level != "must"))


def not_judged(results: Iterable[Result]) -> tuple[Group, ...]:
    """The results that say nothing about the loss, grouped by outcome and reason."""
    folded: dict[tuple[Outcome, str], list[Result]] = {}
    for result in results:
        if result.outcome in NOT_JUDGED:
            why = result.reason or result.message or "no reason given"
            folded.setdefault((result.outcome, why), []).append(result)
    made = [Group(outcome, why, tuple(rs)) for (outcome, why), rs in folded.items()]
    return tuple(sorted(made, key=lambda group: NOT_JUDGED.index(group.outcome)))


def lacking(
    report: Report, implementation: str, rules: Mapping[str, RuleFacts]
) -> tuple[str, ...]:
    """Capabilities that ``implementation`` seems not to be meant for.

    Those needed by must-rules that fail, where every failing rule that needs it fails
    because the call raised, and no rule that needs it passes.
    """
    raised: set[str] = set()
    working: set[str] = set()
    for result in report.of(implementation):
        needs = rules[result.rule].needs if result.rule in rules else ()
        if result.outcome in BAD_OUTCOMES:
            refused = result.finding == "raised" and result.level == "must"
            (raised if refused else working).update(needs)
        elif result.outcome in ("pass", "unexpected_pass", "expected_failure"):
            working.update(needs)
    promised = set(report.described(implementation).get("promises", ()))
    return tuple(sorted(raised - working - promised))


def themes(results: Sequence[Result]) -> tuple[str, ...]:
    """The first halves of the rule ids, in the order of the results."""
    return tuple(dict.fromkeys(r.rule.partition(".")[0] for r in results))
