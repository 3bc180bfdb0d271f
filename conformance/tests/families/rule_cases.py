"""A rule's cases, drawn once for all losses that are judged by them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch

from nll_conformance.declare import Subject
from nll_conformance.discover import family, rules_of
from nll_conformance.model import Case, Finding
from nll_conformance.observe import Caller
from nll_conformance.run import Tally, context_for, judge_case
from nll_conformance.search import smallest, start_for

#: Enough for every planted fault.
COUNT = 12


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small cases on one thread: two that wait for each other are ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def _drawn(of: Subject, family_name: str, rule_id: str, dtype: str, count: int) -> list[Case]:
    rule = rules_of(family_name)[rule_id]
    seen: list[Case] = []
    smallest(
        rule.cases(context_for(of, rule_id, dtype, "cpu")),
        lambda case: bool(seen.append(case)),
        start=start_for(0, rule_id, rule.revision, dtype),
        cases=count,
    )
    return seen


#: The first subject of each set of capabilities stands for all in the cache.
_FIRST: dict[tuple[str, frozenset[str]], Subject] = {}


def drawn(of: Subject, rule_id: str, dtype: str, count: int = COUNT) -> list[Case]:
    """The first cases of a rule for subjects that can do what this one can."""
    name = of.implementation.family
    assert set(of.capabilities) <= set(family(name).capabilities)
    first = _FIRST.setdefault((name, of.capabilities), of)
    return _drawn(first, name, rule_id, dtype, count)


def first_finding(
    of: Subject, rule_id: str, dtype: str = "float32", count: int = COUNT
) -> tuple[Finding | None, Tally]:
    """What the rule first finds in the loss, and what its cases amounted to."""
    rule, tally = rules_of(of.implementation.family)[rule_id], Tally()
    caller = Caller(of, lambda case: None)
    for case in drawn(of, rule_id, dtype, count):
        finding = judge_case(rule, case, caller, tally)
        if finding is not None:
            return finding, tally
    return None, tally
