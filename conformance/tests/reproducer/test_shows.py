"""Every failure's reproducer fails for the wrong loss and passes for a right one."""

from __future__ import annotations

import pytest
import wrong_losses
from programs import outcomes

from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import mutants, rules, rules_of
from nll_conformance.errors import UsageError
from nll_conformance.examples import first_case
from nll_conformance.model import Case, Finding, Rule
from nll_conformance.observe import Caller
from nll_conformance.reproducer import program
from nll_conformance.run import Mode, Tally, judge_case, run_rule

#: No wrong loss here breaks these rules; what they show is tried with right ones alone.
UNTRIED = {
}


def found_by(rule: Rule, case: Case, subject: Subject) -> Finding | None:
    from nll_conformance import state

    before = state.take()
    try:
        return judge_case(rule, case, Caller(subject, lambda case: None), Tally())
    except Exception:
        return None  # a rule that such a loss breaks
    finally:
        state.restore(before)


@pytest.mark.parametrize("family", wrong_losses.RIGHT)
def test_a_wrong_loss_is_shown_and_a_right_one_passes(family: str) -> None:
    right = subject_of(wrong_losses.right(family), family, Amendments(family))
    cases = {
        rule: first_case(rule, family)
        for rule in rules_of(family).values()
        if rule.from_profile == "quick" and right.capabilities.issuperset(rule.needs)
    }
    programs: dict[tuple[str, str], str] = {}
    for rule, case in cases.items():
        named = {"right": (wrong_losses.RIGHT[family], Finding("nothing", want="torch.float32"))}
        for wrong in wrong_losses.WRONG:
            loss = wrong(wrong_losses.right(family))
            finding = found_by(rule, case, subject_of(loss, family, Amendments(family)))
            if finding is not None:
                name = wrong.__name__
                named[name] = (f"wrong_losses:{name}_of_{family}", finding)
                named[f"right for {name}"] = (wrong_losses.RIGHT[family], finding)
        for name, (target, finding) in named.items():
            text = program(case, target, finding=finding, shows=rule.shows)
            programs[rule.id, name] = text
    ended = dict(zip(programs, outcomes(list(programs.values())), strict=True))
    bad = [
        (key, said, programs[key])
        for key, said in ended.items()
        if bool(said) == key[1].startswith("right")
    ]
    for key, said, text in bad: print(key, said[:300], text[-1200:], sep="\n")
    print(len(ended), [rule.id for rule in cases if (rule.id,"off") not in ended and  (rule.id,"accepts") not in ended and (rule.id,"meddles") not in ended  and (rule.id,"drifts") not in ended])
    assert not bad
