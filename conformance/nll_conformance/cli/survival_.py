"""What ``selftest --hostile`` prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from ..render.text import one_line
from ..survival import Fate, Survival, UnderFire


def try_hostile(path: str | None, only: Callable[[str], bool], jobs: int | None) -> int:
    """Try the hostile losses and tell; the exit code."""
    # They sleep more than they compute.
    test = UnderFire(
        jobs=jobs or 2 * min(2, os.cpu_count() or 1),
        only=only,
        told=_progress if sys.stderr.isatty() else lambda fate: None,
    )
    interrupted = False
    try:
        survival = test.run()
    except KeyboardInterrupt:
        survival, interrupted = test.survival, True
    if path is not None:
        Path(path).write_text(json.dumps(survival.to_json(), indent=1) + "\n", encoding="utf-8")
    _show(survival)
    return 130 if interrupted else 0 if survival.passed else 1


def _progress(fate: Fate) -> None:
    click.echo(f"\r{fate.name[:70]:<70}", err=True, nl=False)


def _show(survival: Survival) -> None:
    click.echo(f"{'hostile loss':<50} {'wanted':<62} got")
    for fate in survival.fates:
        got = "as wanted" if fate.good else f"NOT AS WANTED: {one_line(fate.got, 300)}"
        click.echo(f"{fate.name:<50} {one_line(fate.wanted, 60):<62} {got}")
    good = sum(fate.good for fate in survival.fates)
    tried = len(survival.fates)
    cut = "" if tried == survival.total else f" (cut short: {tried} of {survival.total} tried)"
    click.echo(
        f"\n{good} of {tried} hostile losses reported as wanted, {survival.seconds:.0f} s{cut}"
    )
