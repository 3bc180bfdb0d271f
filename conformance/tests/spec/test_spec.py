"""The published specification is made from the rules, and the rules are well formed."""

from pathlib import Path

import pytest

from nll_conformance import discover, spec
from nll_conformance.family import OPTIONAL

ROOT = Path(__file__).parents[3]
RULES = discover.rules()


def test_spec_is_current():
    assert (ROOT / "SPEC.md").read_text(encoding="utf-8") == spec.text(), (
        "run: python -m nll_conformance.spec > SPEC.md"
    )


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_rule_is_a_sentence_with_a_source(rule):
    assert rule.sentence.endswith(".")
    assert len(rule.sentence) < 160
    assert rule.source
    assert rule.judge.__module__.endswith(rule.theme) or rule.judge.__module__.endswith("rules")
    for name in rule.families or discover.family_names():
        contract = discover.family(name)
        known = {*contract.capabilities, *OPTIONAL}
        if not set(rule.needs) <= known:
            # A rule for several families may need what only some of them have.
            assert any(
                set(rule.needs) <= set(discover.family(other).capabilities)
                for other in rule.families or discover.family_names()
            )
