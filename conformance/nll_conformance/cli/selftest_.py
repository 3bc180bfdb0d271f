"""``nll-conformance selftest``: what the suite catches, and what it spares."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ..model import DEVICES, PROFILES
from ..selftest import SelfTest, Trial, Verdict
from .check_ import one_of, writable


@click.command("selftest")
@click.option(
    "--profile",
    default="standard",
    show_default=True,
    callback=one_of(PROFILES, "profile"),
    metavar="|".join(PROFILES),
)
@click.option("--matrix", is_flag=True, help="Run every rule: the kill matrix.")
@click.option("--baselines", is_flag=True, help="What other ways of testing catch.")
@click.option("--hostile", is_flag=True, help="Losses that do harm: is each survived?")
@click.option("--only", multiple=True, metavar="GLOB", help="Only these names; repeatable.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    callback=one_of(DEVICES, "device"),
    metavar="|".join(DEVICES),
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=None, help="Workers at a time.")
@click.option("--json", "path", type=click.Path(), metavar="FILE", help="The trial as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    path: str | None,
    only: tuple[str, ...],
    baselines: bool,
    hostile: bool,
    **given: Any,
) -> None:
    """Try every mutant and variant; exit 0 only if all come out as they should."""
    writable(path)
    if baselines:
        _baselines(path)
        return

    def wanted(name: str) -> bool:
        return not only or any(fnmatch.fnmatch(name, glob) for glob in only)

    jobs = given.pop("jobs")
    if hostile:
        from .survival_ import try_hostile

        ctx.exit(try_hostile(path, wanted, jobs))
    test = SelfTest(
        jobs=jobs or min(2, os.cpu_count() or 1),
        only=wanted,
        told=_Counter().tell if sys.stderr.isatty() else lambda verdict: None,
        **given,
    )
    interrupted = False
    try:
        trial = test.run()
    except KeyboardInterrupt:
        trial, interrupted = test.trial, True
    if path is not None:
        Path(path).write_text(json.dumps(trial.to_json(), indent=1) + "\n", encoding="utf-8")
    _show(trial, test.total)
    ctx.exit(130 if interrupted else 0 if trial.passed else 1)


def _baselines(path: str | None) -> None:
    """The table of other ways of testing (cross entropy), without ours."""
    import torch

    from ..baselines import measure

    torch.set_num_threads(1)
    found = measure()
    if path is not None:
        text = json.dumps([b.to_json() for b in found], indent=1) + "\n"
        Path(path).write_text(text, encoding="utf-8")
    click.echo(f"{'way of testing':<24} {'mutants caught':>16} {'variants rejected':>18}")
    for b in found:
        caught = f"{len(b.caught)} of {b.mutants}"
        rejected = f"{len(b.rejected)} of {b.variants}"
        click.echo(f"{b.name:<24} {caught:>16} {rejected:>18}")


class _Counter:
    """A line on standard error that says how far it is."""

    def __init__(self) -> None:
        self._done = 0

    def tell(self, verdict: Verdict) -> None:
        """One more is known."""
        self._done += 1
        click.echo(f"\r{self._done:4d} {verdict.name[:60]:<60}", err=True, nl=False)


def _show(trial: Trial, total: int) -> None:
    click.echo(f"{'mutant':<44} {'first catching rule':<44} {'dtype':<9} cases seconds")
    for v in trial.mutants:
        rule = v.rule if v.status == "caught" else f"{v.status.upper()} {v.rule}"
        click.echo(f"{v.name:<44} {rule:<44} {v.dtype:<9} {v.cases:>5} {v.seconds:>7.2f}")
    flagged = [v for v in trial.variants if not v.good]
    for v in flagged:
        click.echo(f"FALSE ALARM {v.name}: {v.rule} {v.dtype}: {v.message}")
    if trial.matrix:
        click.echo("\nmutants that only one rule catches")
        for rule, names in sorted(trial.alone().items()):
            click.echo(f"{rule:<44} {', '.join(names)}")
    caught = sum(v.status == "caught" for v in trial.mutants)
    tried = len(trial.mutants) + len(trial.variants)
    unasked = [v.name for v in trial.mutants if v.status == "not asked"]
    if unasked:
        click.echo(f"not asked by this profile: {', '.join(unasked)}")
    cut = "" if tried == total else f" (cut short: {tried} of {total} tried)"
    click.echo(
        f"\n{caught} of {len(trial.mutants) - len(unasked)} mutants caught by a rule that they "
        "name, "
        f"{len(trial.variants) - len(flagged)} of {len(trial.variants)} variants spared, "
        f"profile {trial.profile}, {trial.device}, seed {trial.seed}, {trial.seconds:.0f} s{cut}"
    )
