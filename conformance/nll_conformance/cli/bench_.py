"""``nll-conformance bench``: how fast, how large, and first of all: right on that input?"""

from __future__ import annotations

import platform
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Self

import click

from ..errors import UsageError, unknown
from ..model import DEVICES, DTYPES, SPEC_VERSION
from .check_ import listing


@click.command("bench")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@click.option("--family", metavar="NAME", help="The loss family; else inferred.")
@click.option("--shape", multiple=True, metavar="NxC", help="Repeatable; else the family's own.")
@listing("--dtype", default=("float32",), help="Default: float32.")
@listing("--device", default=("cpu",), help="Default: cpu.")
@listing(
    "--pass",
    "passes",
    default=("both",),
    metavar="forward|backward|both",
    help="Default: both.",
)
@click.option("--rounds", type=click.IntRange(1), default=11, show_default=True)
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="Default: torch's; 1 with --against."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Order of the rounds.")
@click.option("--against", metavar="OLD", help="A commit or folder: is the code slower now?")
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=0.05,
    show_default=True,
    help="With --against: the slowdown that is accepted.",
)
@click.option("--json", "path", type=click.Path(), metavar="FILE", help="JSON Lines.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    targets: tuple[str, ...],
    path: str | None,
    against: str | None,
    limit: float,
    **given: Any,
) -> None:
    """Time each TARGET beside a copy of the logits, all of them in turn in every round.

    Each is verified on that very input first; a wrong one is not timed. Memory is the peak
    that a call adds. Exit 1 if a target was wrong or raised, or if none could be timed.

    With --against each TARGET is compared with its own older code instead, both running in
    turn; exit 1 if one is slower than the limit, or a call adds more memory.
    """
    if not targets:
        raise UsageError("give at least one TARGET: a name, package.module:attr, file.py:attr.")
    from ..bench.lines import BAD_OUTCOMES, PASSES, REFERENCES, Line, Writer, counts
    from ..bench.session import Bench, Options
    from ..render.bench import show

    for what, words, choices in (
        ("dtype", given["dtype"], DTYPES),
        ("device", given["device"], DEVICES),
        ("pass", given["passes"], PASSES),
    ):
        for word in words:
            if word not in choices:
                raise unknown(what, word, choices)
    _require_devices(given["device"])
    options = Options(**given)
    if against is not None:
        if path is not None:
            raise UsageError("--json is not for --against: a comparison has no lines.")
        ctx.exit(1 if _compare(targets, options, against, limit) else 0)
    started, lines = time.monotonic(), list[Line]()
    with _Progress() as progress:
        bench = Bench(targets, options, progress)
        bench.load()
        writer = None if path is None else Writer(path, _header(options))
        for line in bench.run():
            lines.append(line)
            if writer is not None:
                writer.add(line)
    show(lines)
    if writer is not None and not bench.interrupted:
        writer.finish(_footer(counts(lines), time.monotonic() - started))
    if bench.interrupted:
        ctx.exit(130)
    outcomes = {line.outcome for line in lines if line.implementation not in REFERENCES}
    ctx.exit(1 if outcomes & set(BAD_OUTCOMES) or "timed" not in outcomes else 0)


def _compare(targets: tuple[str, ...], options: Any, old: str, limit: float) -> bool:
    """Compare each target with its older code; whether any got worse."""
    from ..bench.session import Bench
    from ..bench.sources import before, locate
    from ..render.bench import comparison

    worse = False
    with _Progress() as progress:
        bench = Bench(targets, options, progress)
        bench.load(eager_too=False)
        for target, subject in zip(targets, bench.subjects, strict=True):
            new = locate(target)
            for key in bench.keys((subject.implementation.family,)):
                with before(new, old) as then:
                    found = _compared(then, new, key, options, limit, progress)
                progress.clear()
                click.echo(comparison(target, key, found, limit))
                worse = worse or found.alarm
    return worse


def _compared(then: Any, new: Any, key: Any, options: Any, limit: float, progress: Any) -> Any:
    from ..bench.gate import compare

    return compare(
        then,
        new,
        limit,
        options.seed,
        options.threads or 1,
        lambda text: progress.doing(text, 0, 1),
        shape=key.shape,
        dtype=key.dtype,
        device=key.device,
        phase=key.phase,
        family=key.family,
    )


def _require_devices(devices: tuple[str, ...]) -> None:
    import torch

    if "cuda" in devices and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but torch sees no GPU here.")


def _header(options: Any) -> dict[str, Any]:
    import torch

    from .. import __version__
    from ..bench.lines import SCHEMA
    from ..engine import environment
    from ..provenance import commit, now

    return {
        "schema": SCHEMA,
        "suite_version": __version__,
        "spec_version": SPEC_VERSION,
        "run_id": uuid.uuid4().hex,
        "environment": environment(),
        "subject_commit": commit(Path.cwd()),
        "suite_commit": commit(Path(__file__).parent),
        "machine": platform.node(),
        "seed": options.seed,
        "rounds": options.rounds,
        "threads": options.threads or torch.get_num_threads(),
        "command": shlex.join(["nll-conformance", *sys.argv[1:]]),
        "started_at": now(),
    }


def _footer(counts: dict[str, int], seconds: float) -> dict[str, Any]:
    from ..provenance import now

    return {"counts": counts, "seconds": round(seconds, 3), "finished_at": now()}


class _Progress:
    """A line on standard error that says what is going on; silent in pipes."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def doing(self, what: str, done: int, total: int) -> None:
        """Show it in place of what was shown before."""
        if self._shown:
            click.echo(f"\r{what[:78]:<78}", err=True, nl=False)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo(f"\r{'':<78}\r", err=True, nl=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
