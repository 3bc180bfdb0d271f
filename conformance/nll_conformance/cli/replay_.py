"""``nll-conformance replay RESULTS [RULE]``: judge recorded counter-examples again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..errors import UsageError, unknown
from ..isolation import ForkServer
from ..model import Result
from ..render.text import harmless
from ..report import Report
from ..results import read
from ..runner import PRELOAD, IsolatedRunner, LocalRunner
from ..wish import Wish


@click.command("replay")
@click.argument("results", type=click.Path(), metavar="RESULTS")
@click.argument("rule", required=False, metavar="[RULE]")
@click.option("--script", is_flag=True, help="Print the programs instead of judging again.")
@click.option("--no-isolation", is_flag=True, help="Judge within this process.")
@click.pass_context
def command(
    ctx: click.Context, results: str, rule: str | None, script: bool, no_isolation: bool
) -> None:
    """Judge the counter-examples of a results file again; exit 1 if one still fails."""
    report = read(results)
    chosen = [r for r in report.results if r.counterexample is not None]
    if rule is not None:
        if rule not in {r.rule for r in report.results}:
            raise unknown("rule in these results", rule, {r.rule for r in report.results})
        chosen = [r for r in chosen if r.rule == rule]
    if not chosen:
        what = f"rule {rule}" if rule else "these results"
        click.echo(f"{what}: no counter-example is recorded; nothing failed.")
        return
    if script:
        click.echo("\n\n".join(harmless(r.reproducer, 200_000).rstrip() for r in chosen))
        return
    ctx.exit(1 if _replay(report, chosen, no_isolation) else 0)


def _replay(report: Report, chosen: list[Result], local: bool) -> bool:
    """Judge and tell; whether anything still fails."""
    server = None if local else ForkServer(preload=PRELOAD)
    failing = False
    try:
        for name in dict.fromkeys(r.implementation for r in chosen):
            runner = _runner(report.described(name), report.header, server)
            runner.load()
            for result in (r for r in chosen if r.implementation == name):
                again = runner.replay(result.counterexample or {})
                bad = again.outcome in ("fail", "crash", "timeout")
                failing |= bad
                verdict = "fails again" if bad else f"{again.outcome} now"
                click.echo(f"{name}  {result.rule}  {result.dtype}: {verdict}")
                if again.message:
                    click.echo(f"    {harmless(again.message)}")
            runner.close()
    finally:
        if server is not None:
            server.close()
    return failing


def _runner(
    described: Mapping[str, Any], header: Mapping[str, Any], server: ForkServer | None
) -> Any:
    if not described:
        raise UsageError("the results do not say how the target was declared.")
    declare = {**described["divergences_seen"], **described["divergences"]}
    if described["precision"]:
        declare["precision"] = described["precision"]
    wish = Wish(
        target=described["target"],
        family=described["family"],
        supports=tuple(described["promises"]),
        lacks=tuple(described["lacks"]),
        declare=declare,
        profile="thorough",
        seed=header["seed"],
    )
    if server is None:
        return LocalRunner(wish)
    return IsolatedRunner(server, wish, timeout_s=60.0)
