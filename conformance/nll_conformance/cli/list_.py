"""``nll-conformance list``: what there is."""

from __future__ import annotations

import json
from typing import Any

import click

from .. import discover
from ..errors import unknown

KINDS = ("rules", "implementations", "families", "mutants", "hostile")


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "id": rule.id,
            "level": rule.level,
            "revision": rule.revision,
            "since": rule.since,
            "families": list(rule.families or discover.family_names()),
            "needs": list(rule.needs),
            "from_profile": rule.from_profile,
            "sentence": rule.sentence,
            "source": rule.source,
        }
        for rule in discover.rules().values()
    ]


def _implementations() -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "family": item.family,
            "installed": _installed(item),
            "lacks": list(item.lacks),
            "promises": list(item.promises),
            "divergences": dict(item.divergences),
            "precision": item.precision,
            "dtypes": list(item.dtypes),
            "devices": list(item.devices),
            "expected": len(item.expected),
            "version": item.version,
            "url": item.url,
        }
        for item in discover.registered().values()
    ]


def _installed(item: Any) -> bool:
    """Asked without importing where ``load`` can tell by ``missing()``."""
    if hasattr(item.load, "missing"):
        return item.load.missing() is None
    try:
        item.load()
    except ImportError:
        return False
    return True


def _families() -> list[dict[str, Any]]:
    found = []
    for name in discover.family_names():
        contract = discover.family(name)
        found.append(
            {
                "name": name,
                "call": contract.call,
                "formula": contract.formula,
                "source": contract.source,
                "arguments": list(contract.arguments),
                "contract": list(contract.contract),
                "divergences": {k: list(v) for k, v in contract.divergences.items()},
            }
        )
    return found


def _mutants() -> list[dict[str, Any]]:
    return [
        {
            "name": mutant.implementation.name,
            "family": mutant.implementation.family,
            "fault": mutant.fault,
            "source": mutant.source,
            "caught_by": list(mutant.caught_by),
        }
        for mutant in discover.mutants()
    ]


def _hostile() -> list[dict[str, Any]]:
    return [
        {
            "name": harmful.implementation.name,
            "harm": harmful.harm,
            "outcome": harmful.outcome,
            "rules": list(harmful.rules),
            "says": harmful.says,
        }
        for harmful in discover.hostile()
    ]


def _line(kind: str, item: dict[str, Any]) -> str:
    if kind == "rules":
        return f"{item['id']:<45} {item['level']:<7} {item['sentence']}"
    if kind == "implementations":
        absent = "" if item["installed"] else "  (not installed)"
        return f"{item['name']:<32} {item['family']}{absent}"
    if kind == "families":
        return f"{item['name']:<24} {item['call']}"
    if kind == "hostile":
        return f"{item['name']:<50} {item['outcome']:<8} {item['harm']}"
    return f"{item['name']:<45} {item['fault']}  [{item['source']}]"


@click.command("list")
@click.argument("kind", metavar="|".join(KINDS))
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def command(kind: str, as_json: bool) -> None:
    """List rules, implementations, families, mutants or hostile losses."""
    makers = {
        "rules": _rules,
        "implementations": _implementations,
        "families": _families,
        "mutants": _mutants,
        "hostile": _hostile,
    }
    if kind not in makers:
        raise unknown("kind", kind, KINDS)
    items = makers[kind]()
    if as_json:
        click.echo(json.dumps(items, indent=2))
        return
    for item in items:
        click.echo(_line(kind, item))
