"""``nll-conformance explain RULE``: the sentence, why, who says so, what it needs."""

from __future__ import annotations

import click

from .. import discover
from ..errors import unknown


@click.command("explain")
@click.argument("rule_id", metavar="RULE")
def command(rule_id: str) -> None:
    """Explain one rule, with the simplest call that it judges."""
    rules = discover.rules()
    former = {alias: rule.id for rule in rules.values() for alias in rule.aliases}
    rule = rules.get(former.get(rule_id, rule_id))
    if rule is None:
        raise unknown("rule", rule_id, rules)
    families = rule.families or discover.family_names()
    click.echo(f"{rule.id}  ({rule.level}, since {rule.since}, revision {rule.revision})\n")
    click.echo(f"  {rule.sentence}\n")
    if rule.why:
        click.echo(f"  {rule.why}\n")
    click.echo(f"source    {rule.source}")
    click.echo(f"families  {', '.join(families)}")
    click.echo(f"needs     {', '.join(rule.needs) or 'nothing beyond the call itself'}")
    if rule.dtypes:
        click.echo(f"dtypes    {', '.join(rule.dtypes)}")
    click.echo(f"profile   from {rule.from_profile}")
    from ..examples import example

    click.echo("\nA call that it judges; a loss that gets it wrong fails:\n")
    for line in example(rule, families[0]).splitlines():
        click.echo(f"    {line}" if line else "")
