"""Losses judged one after the other share cases and exact values, and nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F

from nll_conformance import shared
from nll_conformance.declare import Amendments, subject_of
from nll_conformance.discover import rules_of
from nll_conformance.engine import Engine
from nll_conformance.run import Mode, run_rule
from nll_conformance.wish import Wish

RULES = ("values.row_loss", "weight.rows", "soft_target.rows", "ignore_index.zero_gradient")


def without_weight(input, target, weight=None, ignore_index=-100, reduction="mean"):
    return F.cross_entropy(input, target, ignore_index=ignore_index, reduction=reduction)


@pytest.fixture
def sharing():
    """As in the worker of a self-test, and nothing of it afterwards."""
    yield
    shared.lasting.limit = 0
    shared.lasting.clear()
    shared.drawn.clear()


def judged(loss, *, verdicts_only, lacks=()):
    engine = Engine(
        Wish("loss", profile="quick", lacks=lacks, verdicts_only=verdicts_only),
        lambda case: None,
        loss,
    )
    return {rule: engine.run(rule, "float32", "cpu") for rule in RULES}


def told(result):
    return result.outcome, result.cases, result.judged, result.discriminating


@pytest.mark.usefixtures("sharing")
def test_verdicts_are_those_of_a_run_alone():
    alone = judged(F.cross_entropy, verdicts_only=False)
    first = judged(F.cross_entropy, verdicts_only=True)
    second = judged(F.cross_entropy, verdicts_only=True)
    for rule, result in alone.items():
        assert told(first[rule]) == told(result)
        assert told(second[rule]) == told(result)
        assert second[rule].error_over_bound == result.error_over_bound


@pytest.mark.usefixtures("sharing")
def test_a_wrong_loss_fails_after_a_right_one_and_a_right_one_after_a_wrong_one():
    for loss, outcome in (
        (F.cross_entropy, "pass"),
        (without_weight, "fail"),
        (F.cross_entropy, "pass"),
    ):
        assert judged(loss, verdicts_only=True)["weight.rows"].outcome == outcome


@pytest.mark.usefixtures("sharing")
def test_the_first_failing_case_is_enough():
    result = judged(without_weight, verdicts_only=True)["weight.rows"]
    assert result.counterexample is not None and result.reproducer == ""


@pytest.mark.usefixtures("sharing")
def test_cases_are_drawn_once_for_losses_that_are_alike():
    judged(F.cross_entropy, verdicts_only=True)
    known = {key: len(sets) for key, sets in shared.drawn.items()}
    judged(F.cross_entropy, verdicts_only=True)
    assert {key: len(sets) for key, sets in shared.drawn.items()} == known


def test_capabilities_count_only_where_they_were_asked_for():
    asked = shared.Asked({"weight", "spatial"})
    assert asked.alike(frozenset())
    assert "weight" in asked and "mask" not in asked
    assert asked.alike(frozenset({"weight"}))
    assert not asked.alike(frozenset({"weight", "mask"}))
    assert not asked.alike(frozenset({"spatial"}))


def test_only_the_latest_answers_are_kept():
    latest: shared.Latest[int] = shared.Latest(2)
    found: list[int] = []
    for key in (1, 2, 1, 3, 1, 2):
        latest.get(key, lambda key=key: found.append(key) or key)
    assert found == [1, 2, 3, 2]


def test_a_case_judged_twice_in_other_terms_is_solved_anew():
    rule = rules_of("cross_entropy")["values.row_loss"]
    subject = subject_of(F.cross_entropy, "loss", Amendments(family="cross_entropy"))
    strict = dataclasses.replace(subject, precision="fp32_inside")
    loose, tight = (
        run_rule(s, rule, "bfloat16", "cpu", mode=Mode("quick")).error_over_bound
        for s in (subject, strict)
    )
    assert loose < tight


def test_ctrl_c_begins_no_other_task():
    program = """
import threading, time, _thread
from nll_conformance.pool import in_parallel
begun = []
def work(task):
    begun.append(task)
    time.sleep(0.3)
    return task
threading.Timer(0.1, _thread.interrupt_main).start()
try:
    print(list(in_parallel(range(50), work, 2)))
except KeyboardInterrupt:
    print("interrupted", len(begun))
"""
    start = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("interrupted") and int(said.split()[1]) < 10
    assert time.monotonic() - start < 10


def test_kept_values_are_not_what_the_loss_gets():
    from nll_conformance.recipes import TensorRecipe, build

    recipe = TensorRecipe("scatter", (3, 4), "float64", seed=5)
    first = build(recipe)
    want = first.clone()
    first.zero_()
    assert torch.equal(build(recipe), want)
