"""Every failure's reproducer fails for the wrong loss and passes for a right one."""

from __future__ import annotations

import pytest
import wrong_losses
from programs import outcomes

from nll_conformance import state
from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import mutants, rules, rules_of
from nll_conformance.examples import first_case
from nll_conformance.family import OBJECT
from nll_conformance.model import Case, Finding, Implementation, Rule
from nll_conformance.observe import Caller
from nll_conformance.reproducer import program
from nll_conformance.run import Mode, Tally, judge_case, run_rule

#: What the right losses here do not keep.
NOT_KEPT = {
    ("gaussian_nll", "gaussian_nll.unit_dimensions"),
    ("gaussian_nll", "gaussian_nll.square_beyond_half"),  # in float16 throughout, as it may be
    ("gaussian_nll", "gaussian_nll.square_below_half"),  # likewise
    ("cross_entropy", "weight.rows_beyond_half"),  # likewise
    ("nll", "layout.channels_last"),
    ("poisson_nll", "poisson_nll.full_target_gradient_at_zero"),
    ("bce_with_logits", "elementwise.integer_targets"),
    ("linear_cross_entropy", "ignore_index.nonfinite_gradient"),
    ("causal_cross_entropy", "ignore_index.nonfinite_gradient"),
    ("linear_cross_entropy", "errors.smoothing_range"),
}
#: What none of the wrong losses here breaks.
NOT_BROKEN = {
    *("call.simplest", "stability.impossible_target", "stability.infinite_row"),
    *("autograd.gradient_meta", "dtypes.autocast"),
}


#: What an earlier case left behind in the process makes it fail; the program starts afresh.
OF_HISTORY = {"state.count_reused", "cheating.first_number_of_classes"}

#: For rules about objects.
RIGHT_CLASS = "torch.nn:CrossEntropyLoss"


def subject(loss: object, family: str) -> Subject:
    return subject_of(loss, family, Amendments(family))


def found_by(rule: Rule, case: Case, wrong: Subject) -> Finding | None:
    before = state.take()
    try:
        return judge_case(rule, case, Caller(wrong, lambda case: None), Tally())
    except Exception:  # noqa: BLE001 - a rule that does not survive such a loss
        return None
    finally:
        state.restore(before)


def first_found(rule: Rule, case: Case, family: str) -> tuple[str, Finding] | None:
    """By the first of the wrong losses that breaks the rule."""
    for wrong in wrong_losses.WRONG:
        finding = found_by(rule, case, subject(wrong(wrong_losses.right(family)), family))
        if finding is not None:
            return f"wrong_losses:{wrong.__name__}_of_{family}", finding
    return None


def assert_shown(programs: dict[str, tuple[str, str]]) -> None:
    """Of each pair of programs the first, of the wrong loss, fails; the other passes."""
    texts = [text for pair in programs.values() for text in pair]
    ended = outcomes(texts)
    silent = [name for name, said in zip(programs, ended[::2], strict=True) if not said]
    alarms = {
        name: f"{said}\n{right}"
        for (name, (_, right)), said in zip(programs.items(), ended[1::2], strict=True)
        if said
    }
    assert not silent, "\n".join(programs[name][0] for name in silent)
    assert not alarms, "\n\n".join(f"{name}: {text}" for name, text in alarms.items())


@pytest.mark.parametrize("family", wrong_losses.RIGHT)
def test_a_wrong_loss_is_shown_and_a_right_one_passes(family: str) -> None:
    able = subject(wrong_losses.right(family), family).capabilities
    programs, unbroken = {}, set()
    for rule in rules_of(family).values():
        if rule.from_profile != "quick" or (family, rule.id) in NOT_KEPT:
            continue
        if not able.issuperset(rule.needs):
            continue
        case = first_case(rule, family)
        found = first_found(rule, case, family)
        if found is None:
            unbroken.add(rule.id)
            continue
        target, finding = found
        wrong, right = (
            program(case, each, finding=finding, shows=rule.shows)
            for each in (target, wrong_losses.RIGHT[family])
        )
        programs[rule.id] = (wrong, right)
    assert unbroken <= NOT_BROKEN
    assert_shown(programs)


def pair(implementation: Implementation, rule: Rule) -> tuple[str, str] | None:
    """The reproducer of a mutant, and the same for a right loss."""
    pairs: list[tuple[str, str]] = []
    where = implementation.load.target  # type: ignore[attr-defined]
    right = RIGHT_CLASS if OBJECT in rule.needs else wrong_losses.RIGHT[implementation.family]
    wrong = subject_of(implementation, implementation.name, Amendments())
    late = wrong.forward_only

    def reproduce(case: Case, finding: Finding) -> str:
        mutates = implementation.mutates
        pairs[:] = [
            tuple(  # type: ignore[list-item]
                program(
                    case,
                    each,
                    finding=finding,
                    shows=rule.shows,
                    mutates=mutates,
                    forward_only=late,
                )
                for each in (where, right)
            )
        ]
        return ""

    dtype = next(d for d in implementation.dtypes if not rule.dtypes or d in rule.dtypes)
    run_rule(wrong, rule, dtype, "cpu", mode=Mode("quick"), reproduce=reproduce)
    return pairs[0] if pairs else None


def kept(rule: Rule, family: str) -> bool:
    """Whether the right loss of the family can be asked for the rule, and keeps it."""
    able = {*subject(wrong_losses.right(family), family).capabilities, OBJECT}
    return able.issuperset(rule.needs) and (family, rule.id) not in NOT_KEPT


def test_mutants_are_shown() -> None:
    programs = {}
    for mutant in mutants():
        implementation = mutant.implementation
        chosen = [rules()[name] for name in mutant.caught_by if name in rules()]
        rule = next((rule for rule in chosen if rule.from_profile == "quick"), None)
        if implementation.name in OF_HISTORY:
            continue
        if rule is None or not kept(rule, implementation.family):
            continue
        texts = pair(implementation, rule)
        if texts is not None:
            programs[f"{implementation.name} {rule.id}"] = texts
    assert len(programs) > 40
    assert_shown(programs)
