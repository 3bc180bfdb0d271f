"""What a kill matrix says of the rules."""

from __future__ import annotations

from nll_conformance.discover import rules
from nll_conformance.rules import LIKELIEST
from nll_conformance.selftest import Trial, Verdict, one_dtype_each


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


def test_the_quick_profile_asks_each_rule_in_one_dtype_and_all_of_them_over_seeds():
    jobs = [(f"values.{n}", dtype, "cpu") for n in range(20) for dtype in ("float32", "bfloat16")]
    jobs.append(("values.single", "float32", "cpu"))
    asked = [one_dtype_each(jobs, "loss", seed) for seed in range(10)]
    for chosen in asked:
        assert [job[0] for job in chosen] == [f"values.{n}" for n in range(20)] + ["values.single"]
        assert {job[1] for job in chosen} == {"float32", "bfloat16"}
    assert {job for chosen in asked for job in chosen} == set(jobs)
