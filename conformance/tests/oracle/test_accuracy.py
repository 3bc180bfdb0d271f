"""The accuracy set is the same for everybody, and its letters tell careful from careless."""

import math

import pytest
import torch.nn.functional as F

from nll_conformance import accuracy, discover
from nll_conformance.declare import Amendments, subject_of
from nll_conformance.run import Mode, context_for, run_rule

RULE = "values.accuracy_set"


def measure(loss, seed=0, profile="quick"):
    subject = subject_of(loss, "loss", Amendments(family="cross_entropy"))
    rule = discover.rules()[RULE]
    return run_rule(subject, rule, "float32", "cpu", mode=Mode(profile, seed))


def test_neither_seed_nor_profile_changes_the_set():
    results = [measure(F.cross_entropy, seed, p) for seed, p in ((0, "quick"), (9, "standard"))]
    assert len({result.error_units for result in results}) == 1
    assert len({result.cases for result in results}) == 1


def _any_loss(input, target):
    return input.sum() + target.sum()


@pytest.mark.parametrize("family", discover.rules()[RULE].families)
def test_every_family_has_a_set_without_duplicates(family):
    contract = discover.family(family)
    subject = subject_of(_any_loss, "loss", Amendments(family=family))
    cases = list(accuracy.points(context_for(subject, RULE, "float32", "cpu")))
    assert len(cases) == len(set(cases)) >= len(accuracy.ELEMENTS), contract.name
    assert len(cases) < accuracy.CASES


def test_a_careless_sum_gets_a_worse_letter():
    def careless(input, target):
        # The maximum is added back before the target is taken away: it cancels late.
        shifted = input - 1000.0
        log_sum = (shifted + 1000.0).exp().sum(1).log()
        return (log_sum - input.gather(1, target[:, None])[:, 0]).mean()

    careful, sloppy = measure(F.cross_entropy), measure(careless)
    assert accuracy.letter(careful.error_units) == "A"
    assert accuracy.letter(sloppy.error_units) in ("C", "D") or sloppy.outcome == "fail"


@pytest.mark.parametrize(
    ("units", "letter"), [(None, ""), (0.0, "A"), (8.0, "A"), (9.0, "B"), (200.0, "C"), (1e4, "D")]
)
def test_letters(units, letter):
    assert accuracy.letter(units) == letter
    assert accuracy.letter(math.nan) == "D"
