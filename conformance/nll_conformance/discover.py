"""Families, rules and registered implementations, found where they live."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from .errors import UsageError, unknown
from .family import Family
from .model import Hostile, Implementation, Mutant, Rule

GROUP = "nll_conformance.implementations"
MUTANTS = "nll_conformance.mutants"
VARIANTS = "nll_conformance.variants"
HOSTILE = "nll_conformance.hostile"


@cache
def family_names() -> tuple[str, ...]:
    """The names of the family packages; imports none of them."""
    from . import families

    return tuple(m.name for m in pkgutil.iter_modules(families.__path__) if m.ispkg)


def family_part(name: str, part: str) -> ModuleType:
    """The module ``families/<name>/<part>.py``."""
    if name not in family_names():
        raise unknown("family", name, family_names())
    return importlib.import_module(f".families.{name}.{part}", __package__)


@cache
def family(name: str) -> Family:
    """The contract of the family of that name."""
    contract = family_part(name, "contract").FAMILY
    assert isinstance(contract, Family) and contract.name == name
    return contract


def _rule_modules() -> Iterator[tuple[str, tuple[str, ...], ModuleType]]:
    """Each module of rules with its theme and the families it speaks of (all: empty)."""
    from . import rules

    for module in pkgutil.iter_modules(rules.__path__):
        if module.name.startswith("_"):
            continue
        yield module.name, (), importlib.import_module(f".rules.{module.name}", __package__)
    for name in family_names():
        path = importlib.import_module(f".families.{name}", __package__).__path__
        if any(m.name == "rules" for m in pkgutil.iter_modules(path)):
            yield name, (name,), family_part(name, "rules")


@cache
def rules() -> dict[str, Rule]:
    """Every rule by its id, in the order in which they run (``combinations`` last)."""
    from .contract import RuleDraft

    found: dict[str, Rule] = {}
    for theme, families, module in _rule_modules():
        for draft in vars(module).values():
            if isinstance(draft, RuleDraft) and draft.module == module.__name__:
                rule = draft.rule(theme, families)
                found[rule.id] = rule
    from .rules import ORDER

    place = {theme: number for number, theme in enumerate(ORDER)}
    elsewhere = place["..."]
    return dict(sorted(found.items(), key=lambda item: place.get(item[1].theme, elsewhere)))


def rules_of(family_name: str) -> dict[str, Rule]:
    """The rules that speak of that family and ask only for what it knows."""
    known = set(family(family_name).capabilities)
    return {
        rule_id: rule
        for rule_id, rule in rules().items()
        if (not rule.families or family_name in rule.families) and known.issuperset(rule.needs)
    }


def _load(entry: EntryPoint) -> tuple[Implementation, ...]:
    loaded = entry.load()
    found = loaded() if callable(loaded) else loaded
    if isinstance(found, Implementation):
        found = (found,)
    if not all(isinstance(item, Implementation) for item in found):
        raise UsageError(
            f"entry point {entry.name!r} ({entry.value}) of group {GROUP} gives "
            f"{type(found).__name__}, not Implementations."
        )
    return tuple(found)


@cache
def mutants() -> tuple[Mutant, ...]:
    """The registered mutants, from the entry points of :data:`MUTANTS`."""
    return tuple(m for entry in entry_points(group=MUTANTS) for m in entry.load()())


@cache
def variants() -> tuple[Implementation, ...]:
    """The registered correct variants, from the entry points of :data:`VARIANTS`."""
    return tuple(v for entry in entry_points(group=VARIANTS) for v in entry.load()())


@cache
def hostile() -> tuple[Hostile, ...]:
    """The registered hostile losses, from the entry points of :data:`HOSTILE`."""
    return tuple(h for entry in entry_points(group=HOSTILE) for h in entry.load()())


@cache
def registered() -> dict[str, Implementation]:
    """Registered implementations by name, from the entry points of :data:`GROUP`.

    An entry point is an ``Implementation``, several, or a callable that returns them.  One
    whose module cannot be imported raises UsageError naming the distribution.
    """
    found: dict[str, Implementation] = {}
    for entry in entry_points(group=GROUP):
        try:
            implementations = _load(entry)
        except ImportError as error:
            owner = entry.dist.name if entry.dist else "unknown distribution"
            raise UsageError(
                f"entry point {entry.name!r} of {owner} cannot be imported: {error}"
            ) from error
        for implementation in implementations:
            if implementation.name in found:
                raise UsageError(
                    f"two registered implementations are called {implementation.name!r}."
                )
            found[implementation.name] = implementation
    return found
