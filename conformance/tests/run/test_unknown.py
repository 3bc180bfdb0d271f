"""The message for a name that is none of the choices."""

from __future__ import annotations

from nll_conformance.errors import MOST_NAMED, unknown


def test_few_choices_are_all_named() -> None:
    said = str(unknown("dtype", "flot32", ["float32", "bfloat16"]))
    assert said == "unknown dtype 'flot32'. Did you mean 'float32'? Valid: bfloat16, float32."


def test_of_many_the_nearest_are_named_and_the_command_only_where_one_lists_them() -> None:
    many = [f"theme.rule_{i}" for i in range(MOST_NAMED + 1)]
    said = str(unknown("rule", "theme.rul_7", many))
    assert "theme.rule_7" in said
    assert said.endswith(f"(12 of {len(many)}; nll-conformance list rules).")
    assert str(unknown("attribute of m", "x", many)).endswith(f"(12 of {len(many)}).")
