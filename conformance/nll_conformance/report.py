"""A report: what was checked and how (header), what came out (results), how it ended.

The verdict is made here, once, from the results alone; the footer of a file repeats it for
readers in other languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from .model import BAD_OUTCOMES, LEVELS, Outcome, Profile, Result

Verdict: TypeAlias = Literal["conforms", "does not conform", "not judged"]

#: Number of the results format; another number is another format.
SCHEMA = 1
#: Outcomes that came from looking at what the loss did.
JUDGED: tuple[Outcome, ...] = ("pass", "expected_failure", "unexpected_pass", *BAD_OUTCOMES)
EXIT_CONFORMS, EXIT_FAILS, EXIT_SUITE_ERROR = 0, 1, 3


class Described(TypedDict):
    """What the header says of one implementation."""

    name: str
    family: str
    family_assumed: bool
    declaration: Literal["registered", "target", "inferred"]
    capabilities: list[str]
    lacks: list[str]
    promises: list[str]
    divergences: dict[str, str]
    divergences_seen: dict[str, str]
    precision: str | None
    dtypes: list[str]
    devices: list[str]
    version: str | None
    target: str


class Header(TypedDict):
    """The first line of a results file."""

    kind: Literal["header"]
    schema: int
    suite_version: str
    spec_version: str
    run_id: str
    implementations: list[Described]
    declaration: dict[str, str]
    environment: dict[str, Any]
    subject_commit: str | None
    suite_commit: str | None
    machine: str
    mode: Literal["deterministic", "random"]
    seed: int
    profile: Profile
    rules: list[str]
    options: dict[str, Any]
    isolation: bool
    started_at: str


@dataclass(frozen=True)
class RuleFacts:
    """What a renderer says of a rule: its sentence, who says so, and what it needs.

    A rule that ``refusal_passes`` says nothing of what a loss can do, but of what it refuses.
    """

    sentence: str
    source: str
    needs: tuple[str, ...] = ()
    refusal_passes: bool = False


@dataclass(frozen=True)
class Report:
    """The results of one run; ``footer`` is None where the run was cut short."""

    header: Mapping[str, Any]
    results: tuple[Result, ...]
    footer: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether the run came to its end: its footer was written and says so."""
        return self.footer is not None and not self.footer.get("interrupted", False)

    @property
    def implementations(self) -> tuple[str, ...]:
        """The names of what was checked, in the order of the header."""
        names = [described["name"] for described in self.header.get("implementations", ())]
        return tuple(dict.fromkeys([*names, *(r.implementation for r in self.results)]))

    def described(self, implementation: str) -> Mapping[str, Any]:
        """The header's object for that implementation, empty where it has none."""
        for described in self.header.get("implementations", ()):
            if described["name"] == implementation:
                return dict(described)
        return {}

    def of(self, implementation: str) -> tuple[Result, ...]:
        """The results of that implementation."""
        return tuple(r for r in self.results if r.implementation == implementation)

    def verdict(self, implementation: str) -> Verdict:
        """What the must-rules say of that implementation.

        One bad outcome is enough not to conform; conforming takes at least one pass, and no
        must-rule on which the suite itself failed.
        """
        musts = {r.outcome for r in self.of(implementation) if r.level == "must"}
        if musts & set(BAD_OUTCOMES):
            return "does not conform"
        if "error" in musts or not musts & {"pass", "unexpected_pass"}:
            return "not judged"
        return "conforms"

    @property
    def conforms(self) -> bool:
        """Whether no implementation fails a must-rule and something was judged."""
        verdicts = {self.verdict(name) for name in self.implementations}
        return "conforms" in verdicts and "does not conform" not in verdicts

    def exit_code(self, strict: bool = False) -> int:
        """0 conforms, 1 does not, 3 where the suite itself failed.

        ``strict`` counts failed should-rules and stale expected failures as failures too.
        """
        outcomes = {r.outcome for r in self.results}
        if "error" in outcomes:
            return EXIT_SUITE_ERROR
        if strict and outcomes & {*BAD_OUTCOMES, "unexpected_pass"}:
            return EXIT_FAILS
        return EXIT_CONFORMS if self.conforms else EXIT_FAILS

    def counts(self) -> dict[str, int]:
        """How many results ended in each outcome that occurred, by name of the outcome."""
        return _counts(self.results)

    def conformance_sentence(self, implementation: str) -> str:
        """The verdict, said with what was judged."""
        judged = [r for r in self.of(implementation) if r.outcome in JUDGED]
        described = self.described(implementation)
        parts = [
            _scope(described, judged),
            *dict.fromkeys(r.dtype for r in judged),
            *dict.fromkeys(r.device for r in judged),
            f"spec {self.header.get('spec_version', '?')}",
            str(self.header.get("profile", "?")),
        ]
        globs = [g for g in self.header.get("rules", ()) if g != "*"]
        if globs:  # the claim reaches no further than the rules that were chosen
            parts.append(f"only rules {' '.join(globs)}")
        known = sum(r.outcome == "expected_failure" for r in judged)
        excuse = f"; {known} expected failure{'s' * (known != 1)}" if known else ""
        return f"{self._word(implementation)}: {', '.join(parts)}{excuse}"

    def _word(self, implementation: str) -> str:
        verdict = self.verdict(implementation)
        if verdict == "conforms" and not self.complete:
            return "cut short, no failure so far"
        return verdict

    def make_footer(
        self, *, interrupted: bool, finished_at: str, seconds: float, strict: bool = False
    ) -> dict[str, Any]:
        """The last line of the results file for these results; ``seconds`` is wall time."""
        return {
            "kind": "footer",
            "counts": self.counts(),
            "levels": {
                level: _counts(r for r in self.results if r.level == level) for level in LEVELS
            },
            "conforms": self.conforms and not interrupted,
            "exit_code": self.exit_code(strict),
            "interrupted": interrupted,
            "finished_at": finished_at,
            "seconds": seconds,
        }


def _counts(results: Iterable[Result]) -> dict[str, int]:
    return dict(sorted(Counter(r.outcome for r in results).items()))


def _scope(described: Mapping[str, Any], judged: list[Result]) -> str:
    """``family [capabilities; lacks what it lacks]``."""
    family = described.get("family") or (judged[0].family if judged else "unknown family")
    lacks = ", ".join(described.get("lacks", ()))
    inside = ", ".join(described.get("capabilities", ()))
    inside += (f"; lacks {lacks}" if inside else f"lacks {lacks}") if lacks else ""
    return f"{family} [{inside}]" if inside else str(family)
