"""``nll-conformance report``: a static site of results, benches and their history."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import click

from ..errors import UsageError
from ..render.text import harmless

#: What the extra installs, by the name that it is imported by.
_NEEDED = ("pandas", "jinja2", "vl_convert")


@click.command("report")
@click.argument("results", nargs=-1, metavar="RESULTS...", type=click.Path())
@click.option("--output", type=click.Path(), metavar="DIR", required=True, help="The site.")
@click.option("--history", type=click.Path(), metavar="DIR", help="Keep a file for each run.")
@click.option("--title", default="nll-conformance", show_default=True, help="Of the page.")
def command(results: tuple[str, ...], output: str, history: str | None, title: str) -> None:
    """Make a site of RESULTS: one page that needs no server and no network.

    RESULTS are files of check, bench and selftest (--json), pytest-benchmark's JSON, an asv
    results folder, or folders of such files.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"report needs {', '.join(missing)}: pip install 'nll-conformance[report]'."
        )
    if not results and history is None:
        raise UsageError("give at least one file or folder of RESULTS.")
    from nll_reports import build, load
    from nll_reports.history import record

    past = history if history is not None and Path(history).exists() else None
    frames = load(results, past=past)
    if history is not None:
        record(frames, history)
    built = build(frames, output, title=title)
    for notice in built.notices:
        click.echo(f"notice: {harmless(notice)}", err=True)
    for file in built.files:
        click.echo(f"{file}  {_size(file)}")
    _step_summary(built.files)


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _step_summary(files: tuple[Path, ...]) -> None:
    """Where CI shows a summary of each step, this is this one's."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.writelines(f.read_text(encoding="utf-8") for f in files if f.name == "summary.md")
