"""``nll-conformance diff OLD NEW``: what got worse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import click

from ..diff import Compared, Difference, difference
from ..render.text import counted, one_line
from ..results import read

#: Lines of one kind of change; the rest is counted.
_LINES = 50


@click.command("diff")
@click.argument("old", type=click.Path(), metavar="OLD")
@click.argument("new", type=click.Path(), metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_context
def command(ctx: click.Context, old: str, new: str, as_json: bool) -> None:
    """Compare two results files; exit 1 if anything got worse.

    A result that only one of them has is not compared, and neither is one under a rule that
    changed its revision.
    """
    found = difference(read(old), read(new))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
    else:
        _show(found)
    ctx.exit(found.exit_code)


def _show(found: Difference) -> None:
    for note in found.notes:
        click.echo(f"note: {one_line(note, 300)}")
    for change, word in (("worse", "WORSE"), ("better", "better"), ("rule changed", "changed")):
        _list(word, found.of(change))  # type: ignore[arg-type]
    absent = found.of("not compared")
    for why, count in Counter(c.why for c in absent).most_common(8):
        click.echo(f"not compared: {counted(count, 'result')}, {why}")
    same = len(found.of("same"))
    click.echo(
        f"{len(found.of('worse'))} worse, {len(found.of('better'))} better, {same} the same, "
        f"{len(found.of('rule changed'))} under changed rules, {len(absent)} not compared"
    )


def _list(word: str, changes: Sequence[Compared]) -> None:
    for each in changes[:_LINES]:
        implementation, rule, dtype, device = each.key
        what = f"{one_line(implementation, 80)}  {rule}  {dtype} {device}"
        outcomes = each.why or f"{each.old} -> {each.new}"
        level = "" if each.level == "must" else f" ({each.level})"
        click.echo(f"{word} {what}: {outcomes}{level}")
        if word == "WORSE" and each.message:
            click.echo(f"      {one_line(each.message, 200)}")
    if len(changes) > _LINES:
        click.echo(f"{word}: {counted(len(changes) - _LINES, 'more result')}")
