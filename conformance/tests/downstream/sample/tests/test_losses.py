import nll_conformance


@nll_conformance.parametrize("mypackage", profile="quick", expected="expected.toml", strict=True)
def test_fused_ce(rule):
    rule.check()
