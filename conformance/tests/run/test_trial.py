"""What a kill matrix says of the rules."""

from __future__ import annotations

from nll_conformance.discover import rules
from nll_conformance.rules import LIKELIEST
from nll_conformance.selftest import Trial, Verdict


def caught(name: str, *by: str) -> Verdict:
    return Verdict(name, "cross_entropy", "caught", rule=by[0], caught=by)


def trial() -> Trial:
    found = Trial("quick", 0, matrix=True)
    found.mutants = [
        caught("one", "values.a", "weight.b"),
        caught("two", "values.a", "weight.b"),
        caught("three", "weight.b", "combinations.all_options"),
        caught("four", "errors.c"),
        Verdict("five", "cross_entropy", "survived"),
    ]
    found.rule_seconds.update(
        {"values.a": 1.0, "weight.b": 10.0, "errors.c": 5.0, "combinations.all_options": 3.0}
    )
    return found


def test_what_finds_most_for_its_time_comes_first():
    # two in 1 s; then one in 3 s; then one in 5 s
    assert trial().likeliest() == ["values.a", "combinations.all_options", "errors.c"]


def test_a_rule_that_varies_everything_does_not_count_as_another_that_catches():
    assert trial().alone() == {"weight.b": ["three"], "errors.c": ["four"]}


def test_the_likeliest_are_rules():
    assert set(LIKELIEST) <= set(rules()) and len(set(LIKELIEST)) == len(LIKELIEST)
