"""What one run says of an implementation that the one before it said otherwise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from nll_conformance.causes import NOT_JUDGED

from .frames import Frames, Row

Direction: TypeAlias = Literal["lost", "gained", "changed"]
#: Rule -> outcome, told as outcome -> rules in one string, as the table `outcomes` has it.
_Block: TypeAlias = dict[str, str]

_GOOD = ("pass", "unexpected_pass")


@dataclass(frozen=True)
class Change:
    """One verdict, of one rule, that differs between two runs."""

    implementation: str
    family: str
    rule: str
    dtype: str
    device: str
    before: str
    after: str
    before_run: str
    after_run: str

    @property
    def direction(self) -> Direction:
        """Lost: it passed before; gained: it passes now."""
        if self.before in _GOOD and self.after not in _GOOD:
            return "lost"
        if self.after in _GOOD and self.before not in _GOOD:
            return "gained"
        return "changed"


def changes(frames: Frames, runs: Mapping[str, Row]) -> list[Change]:
    """Between consecutive runs of each implementation; ``runs`` are in order, oldest first.

    Compared is what both judged or both were asked: a rule that only one of them had (another
    profile, an interrupted run) is no change.
    """
    place = {run_id: number for number, run_id in enumerate(runs)}
    blocks: dict[tuple[str, ...], dict[str, _Block]] = defaultdict(lambda: defaultdict(dict))
    table = frames.outcomes
    columns = ("implementation", "family", "dtype", "device")
    rows = zip(*(table[c] for c in columns), table.run_id, table.outcome, table.rules, strict=True)
    for *names, run_id, outcome, rules in rows:
        blocks[tuple(names)][run_id][outcome] = rules
    found: list[tuple[int, Change]] = []
    for key, of_run in blocks.items():
        inorder = sorted(of_run, key=place.__getitem__)
        for before, after in pairwise(inorder):
            if of_run[before] == of_run[after]:
                continue
            old, new = _by_rule(of_run[before]), _by_rule(of_run[after])
            for rule, (was, now) in _differing(old, new).items():
                change = Change(key[0], key[1], rule, key[2], key[3], was, now, before, after)
                found.append((place[after], change))
    return [change for _, change in sorted(found, key=lambda item: item[0])]


def _by_rule(block: _Block) -> dict[str, str]:
    return {rule: outcome for outcome, rules in block.items() for rule in rules.split()}


def _differing(old: dict[str, str], new: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Rules that both have, with unlike outcomes of which at least one is a judgement."""
    return {
        rule: (was, new[rule])
        for rule, was in old.items()
        if rule in new and was != new[rule] and not {was, new[rule]} <= set(NOT_JUDGED)
    }
