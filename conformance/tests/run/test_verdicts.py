"""Wrong losses fail for a rule that says so; right ones, however given, conform."""

import functools
import sys
from pathlib import Path

import pytest
import torch.nn.functional as F

import nll_conformance
from nll_conformance import Expected, check
from nll_conformance.options import Options
from nll_conformance.session import Session

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import wrong  # noqa: E402 - it lies beside this file

FAST = {"profile": "quick", "dtype": "float32", "isolation": False}


def outcomes(loss, rules, **options):
    report = check(loss, **{**FAST, "rules": rules, **options})
    return {result.rule: result for result in report.results}


@pytest.mark.parametrize(
    ("loss", "rule", "word"),
    [
        (wrong.zeros, "values.plain_mean", "mean"),
        (wrong.constant, "values.plain_mean", "mean"),
        (wrong.sum_for_mean, "reductions.mean", "mean"),
        (wrong.no_weight, "weight.rows", "weight"),
        (wrong.no_ignore_index, "ignore_index.in_range", "ignore"),
        (wrong.no_reduction, "reductions.none", "none"),
        (wrong.no_reduction, "reductions.sum", "sum"),
        (wrong.no_smoothing, "label_smoothing.rows", "smoothed"),
        (wrong.no_mask, "mask.rows", "Masked"),
    ],
)
def test_each_fault_fails_for_a_rule_whose_sentence_says_so(loss, rule, word):
    result = outcomes(loss, rule)[rule]
    assert result.outcome == "fail"
    assert word in nll_conformance.discover.rules()[rule].sentence
    assert result.counterexample is not None
    assert "import torch" in result.reproducer


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        wrong.Module,
        wrong.instance,
        functools.partial(F.cross_entropy, label_smoothing=0.25),
        functools.partial(F.cross_entropy, reduction="none"),
    ],
    ids=["function", "module class", "module instance", "partial", "partial none"],
)
def test_every_kind_of_target_is_judged(loss):
    found = outcomes(loss, ("values.*", "gradients.every_entry", "reductions.*"))
    bad = [r.message for r in found.values() if r.outcome in ("fail", "error")]
    assert not bad
    assert found["values.plain_mean"].outcome == "pass"


def test_an_instance_keeps_its_options_fixed():
    found = outcomes(wrong.instance, ("reductions.none", "values.plain_mean"))
    assert found["reductions.none"].outcome == "unsupported"
    assert "fixed by the target" in found["reductions.none"].message


def test_a_lack_is_unsupported_and_a_gap_is_named():
    found = outcomes(wrong.plain, "reductions.sum")
    assert found["reductions.sum"].outcome == "fail"
    found = outcomes(wrong.plain, "reductions.sum", lacks="reduction_sum")
    assert found["reductions.sum"].outcome == "unsupported"


def test_undeclared_divergences_are_seen_and_kept():
    def guarded(input, target, ignore_index=-100, reduction="mean"):
        rows = F.cross_entropy(input, target, ignore_index=ignore_index, reduction="none")
        if reduction == "none":
            return rows
        total = rows.sum()
        return total if reduction == "sum" else total / max((target != ignore_index).sum(), 1)

    report = check(guarded, **FAST, rules="ignore_index.all_ignored_mean")
    assert report.results[0].outcome == "pass"
    seen = report.header["implementations"][0]["divergences_seen"]
    assert seen["all_ignored_mean"] == "zero"
    declared = check(
        guarded,
        **FAST,
        rules="ignore_index.all_ignored_mean",
        declare={"all_ignored_mean": "nan"},
    )
    assert declared.results[0].outcome == "fail"


def test_a_declaration_travels_with_the_function():
    @nll_conformance.implementation(
        lacks=("spatial", "unbatched"),
        expected=(Expected("reductions.sum", reason="known", link="https://example.org"),),
    )
    def loss(input, target, reduction="mean"):
        return F.cross_entropy(input, target)

    found = outcomes(loss, ("reductions.sum", "shapes.spatial_input"))
    assert found["reductions.sum"].outcome == "expected_failure"
    assert found["reductions.sum"].reason == "known"
    assert found["shapes.spatial_input"].outcome == "unsupported"


@pytest.mark.parametrize(
    ("loss", "outcome", "reason"),
    [
        ("crashes", "crash", "SIGSEGV"),
        ("leaves", "crash", "exit code 0"),
        ("hangs", "timeout", "no answer within"),
    ],
)
def test_a_death_costs_one_rule(loss, outcome, reason):
    report = check(
        f"{HERE / 'wrong.py'}:{loss}",
        profile="quick",
        dtype="float32",
        rules=("reductions.mean_of_any_count", "values.plain_mean", "reductions.none"),
        timeout=10.0,
    )
    found = {r.rule: r for r in report.results}
    dead = found["reductions.mean_of_any_count"]
    assert dead.outcome == outcome
    assert reason in dead.message
    assert dead.counterexample is not None
    assert "import torch" in dead.reproducer
    assert found["values.plain_mean"].outcome == "pass"
    assert found["reductions.none"].outcome == "pass"
    assert report.exit_code() == 1


def test_death_in_the_smoke_test_is_a_result():
    report = check(
        f"{HERE / 'wrong.py'}:dies_at_once",
        profile="quick",
        dtype="float32",
        rules=("call.simplest", "values.plain_mean"),
    )
    found = {r.rule: r for r in report.results}
    assert found["call.simplest"].outcome == "crash"
    assert "SIGABRT" in found["call.simplest"].message
    assert found["values.plain_mean"].outcome == "crash"


def test_fail_fast_stops_at_the_first_failure():
    session = Session(
        [wrong.zeros], Options(profile="quick", dtype=("float32",), isolation=False, fail_fast=True)
    )
    report = session.run()
    assert report.results[-1].outcome == "fail"
    assert len(report.results) < 20
