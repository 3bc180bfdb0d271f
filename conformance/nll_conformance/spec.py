"""The published specification, made from the rules and families: ``SPEC.md``.

``python -m nll_conformance.spec`` prints it; a test holds the file current.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import discover
from .family import OBJECT, OPTIONAL
from .model import SPEC_VERSION, Rule

_HEAD = f"""# Specification {SPEC_VERSION}

Made by `python -m nll_conformance.spec` from the rules themselves; do not edit.

**must**: who trains with a loss that breaks it gets a wrong number, an argument is silently
ignored, the caller's data or the process changes, or a valid call is refused.
**should**: everything else.  A rule's id is forever; its revision rises when a verdict may
change.  A rule is asked only of losses that have what it needs: an *argument* capability is
present if the signature has a parameter of that name, a *contract* capability unless it is
declared absent, an *optional* one ({", ".join(OPTIONAL)}) must be right or
raise, and must work where it is promised.  `{OBJECT}` is what an `nn.Module` class has and
a function has not.
"""


def text() -> str:
    """The whole document, Markdown."""
    return "\n".join([_HEAD, "## Families\n", *_families(), "## Rules\n", *_rules()])


def _families() -> Iterator[str]:
    for name in discover.family_names():
        contract = discover.family(name)
        yield f"### {name}\n"
        yield f"- call: `{contract.call}`"
        yield f"- formula: {contract.formula}"
        yield f"- source: {contract.source}"
        yield f"- arguments: {', '.join(contract.arguments) or 'none'}"
        yield f"- contract: {', '.join(contract.contract)}"
        for key, values in contract.divergences.items():
            yield f"- divergence `{key}`: {' or '.join(values)} (PyTorch: {values[0]})"
        yield ""


def _rules() -> Iterator[str]:
    theme = ""
    for rule in discover.rules().values():
        if rule.theme != theme:
            theme = rule.theme
            yield f"### {theme}\n"
        yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f"**`{rule.id}`** ({rule.level}, since {rule.since}, revision {rule.revision})  "
    yield f"{rule.sentence}  "
    if rule.why:
        yield f"{rule.why}  "
    facts = [f"source: {rule.source}"]
    if rule.needs:
        facts.append(f"needs {', '.join(rule.needs)}")
    if rule.families:
        facts.append(f"families {', '.join(rule.families)}")
    if rule.dtypes:
        facts.append(f"only {', '.join(rule.dtypes)}")
    if rule.from_profile != "quick":
        facts.append(f"from profile {rule.from_profile}")
    yield f"*{'; '.join(facts)}*\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - this is the command
