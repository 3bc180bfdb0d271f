"""``nll-conformance check``: judge losses and say what was found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..errors import UsageError, unknown
from ..model import PROFILES
from ..options import ASKED, Options
from ..report import Report
from ..runner import LOAD_S
from ..session import Session


def listing(
    *names: str, help: str, default: tuple[str, ...] = (), metavar: str = "LIST"
) -> Callable[[Any], Any]:
    """An option that takes a comma-separated list, and may be given several times."""

    def words(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Any:
        found = (word.strip() for value in given for word in value.split(","))
        return tuple(word for word in found if word) or default

    return click.option(*names, help=help, metavar=metavar, multiple=True, callback=words)


def _declarations(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--declare {pair!r} is not KEY=VALUE.")
        found[key] = value
    return found


def one_of(choices: tuple[str, ...], what: str) -> Any:
    """A callback that refuses anything but these, with the nearest one."""

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        if value not in choices:
            raise unknown(what, value, choices)
        return value

    return check


def judging_options(function: Any) -> Any:
    """The options that ``check`` shares with other ways to judge."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option("--family", metavar="NAME", help="The loss family; else inferred."),
    listing("--supports", help="Capabilities it has as well."),
    listing("--lacks", help="Capabilities it does not have."),
    click.option("--declare", multiple=True, metavar="KEY=VALUE", help="A declaration."),
    listing("--dtype", help="Default: all declared; quick: float32,bfloat16."),
    listing("--device", default=("cpu",), help="Default: cpu."),
    click.option(
        "--profile",
        default="standard",
        show_default=True,
        callback=one_of(PROFILES, "profile"),
        metavar="|".join(PROFILES),
    ),
    listing("--rules", metavar="GLOB", help="Only these; repeatable."),
    click.option("--random", is_flag=True, help="Explore with a new seed each time."),
    click.option("--seed", type=int, default=None, help="Default: 0."),
    click.option("--jobs", type=click.IntRange(1), default=None, help="Workers at a time."),
    click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds."),
    click.option(
        "--load-timeout",
        type=float,
        default=LOAD_S,
        show_default=True,
        help="Seconds to import a target.",
    ),
    click.option(
        "--memory-limit",
        type=click.IntRange(1),
        default=None,
        metavar="MB",
        help="For each worker; default: half of the machine's.",
    ),
    click.option("--no-isolation", is_flag=True, help="Judge within this process."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first failing must-rule."),
    click.option("--expected", type=click.Path(), metavar="FILE", help="Known failures."),
    click.option("--strict", is_flag=True, help="Stale and should-failures fail as well."),
)


@click.command("check")
@click.argument("targets", nargs=-1, metavar="TARGET...")
@judging_options
@click.option("--write-expected", type=click.Path(), metavar="FILE")
@click.option("--json", type=click.Path(), metavar="FILE", help="Results, JSON Lines.")
@click.option("--resume", type=click.Path(), metavar="FILE", help="Go on with a results file.")
@click.option("--junit", type=click.Path(), metavar="FILE")
@click.option("--markdown", type=click.Path(), metavar="FILE")
@click.option("--badge", type=click.Path(), metavar="FILE", help="Shields endpoint, JSON.")
@click.pass_context
def command(ctx: click.Context, /, targets: tuple[str, ...], **given: Any) -> None:
    """Judge each TARGET by the rules of its family.

    TARGET is a registered name, package.module:attr or path/file.py:attr.
    """
    outputs = {name: given.pop(name) for name in ("write_expected", "junit", "markdown", "badge")}
    for path in outputs.values():
        writable(path)
    given["declare"] = _declarations(given["declare"])
    if given["resume"] is not None:
        targets = _taken_over(ctx, targets, given)
    options = Options(isolation=not given.pop("no_isolation"), **given)
    if not targets:
        raise UsageError("give at least one TARGET: a name, package.module:attr, file.py:attr.")
    from ..render.terminal import Progress, show

    with Progress() as progress:
        session = Session(targets, options, progress)
        report = session.run()
    if session.left_out:
        click.echo(f"not installed, so left out: {', '.join(session.left_out)}", err=True)
    show(report, session.rules, path=str(options.json or options.resume or "") or None)
    _write_outputs(report, session, outputs)
    interrupted = bool(report.footer and report.footer["interrupted"])
    ctx.exit(130 if interrupted else report.exit_code(options.strict))


def _taken_over(
    ctx: click.Context, targets: tuple[str, ...], given: dict[str, Any]
) -> tuple[str, ...]:
    """The targets; options that the command line leaves open become those of the first run."""
    from ..results import read

    header = read(given["resume"]).header
    asked = {**header.get("options", {}), "seed": header["seed"]}
    for name, value in asked.items():
        if name in ASKED and ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            given[name] = tuple(value) if isinstance(value, list) else value
    return targets or tuple(d["target"] for d in header["implementations"])


def writable(path: str | None) -> None:
    """Refuse, before anything runs, a file that cannot be written."""
    if path is None:
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {folder}.")
    if Path(path).is_dir() or not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise UsageError(f"cannot write {path}: it is a folder, or permission is denied.")


def _write_outputs(report: Report, session: Session, outputs: dict[str, str | None]) -> None:
    path = str(session.options.json or "") or None
    if outputs["junit"]:
        from ..render.junit import junit

        Path(outputs["junit"]).write_text(junit(report), encoding="utf-8")
    if outputs["badge"]:
        from ..render.badge import badge

        Path(outputs["badge"]).write_text(badge(report), encoding="utf-8")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if outputs["markdown"] or summary:
        from ..render.markdown import markdown

        text = markdown(report, session.rules, path=path)
        if outputs["markdown"]:
            Path(outputs["markdown"]).write_text(text, encoding="utf-8")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text)
    if outputs["write_expected"]:
        from ..expected import write

        count = write(outputs["write_expected"], report.results)
        click.echo(f"{count} expected failures in {outputs['write_expected']}", err=True)
