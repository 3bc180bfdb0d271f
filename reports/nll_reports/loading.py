"""``load(paths)``: whatever the files are, their tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from nll_conformance.errors import UsageError

from . import history
from .frames import Frames, Row, Rows, tables
from .inputs import (
    asv_results,
    baselines,
    bench,
    conformance,
    pytest_benchmark,
    selftest,
    source,
)

READERS: tuple[ModuleType, ...] = (conformance, bench, selftest, baselines, pytest_benchmark)
_KINDS = (
    "results of `check --json`, `bench --json` or `selftest --json`, pytest-benchmark's JSON, "
    "an asv results folder"
)


def load(
    paths: Iterable[str | os.PathLike[str]], *, past: str | os.PathLike[str] | None = None
) -> Frames:
    """The tables of these files and folders, and of the history folder ``past``.

    A folder is an asv results folder (or a checkout with one), or its ``*.json`` and
    ``*.jsonl`` files are read.  What cannot be read is said in the table ``notices``;
    UsageError is raised where nothing can be.
    """
    rows: Rows = {"runs": [], "notices": []}
    seen: dict[str, str] = {}
    for path in paths:
        for file in _files(Path(path)):
            try:
                _add(rows, _read(file), seen)
            except UsageError as error:
                # these sentences name their file themselves
                rows["notices"].append({"source": "", "text": str(error)})
    if past is not None:
        for found in history.recall(Path(past), rows["notices"]):
            _add(rows, found, seen)
    if not rows["runs"]:
        told = [notice["text"] for notice in rows["notices"]]
        raise UsageError("\n".join(told) or f"no results: give {_KINDS}.")
    rows["notices"] += _differences(rows["runs"])
    return tables(rows)


def _files(path: Path) -> Iterator[Path]:
    """The path itself, or the files of a folder that is not asv's."""
    if not path.is_dir() or asv_results.folder(path) is not None:
        yield path
        return
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
    yield from files or [path]


def _read(path: Path) -> Rows:
    if path.is_dir():
        at = asv_results.folder(path)
        if at is None:
            raise UsageError(f"{path}: neither results nor a folder of asv's; wanted: {_KINDS}.")
        return asv_results.read(at)
    file = source(path)
    for reader in READERS:
        if reader.claims(file):
            rows: Rows = reader.read(file)
            return rows
    if isinstance(file.document, dict) and "result_columns" in file.document:
        raise UsageError(
            f"{path}: one file of asv's results; give the folder that it lies in, for the names "
            "of its parameters are in benchmarks.json there."
        )
    raise UsageError(f"{path}: JSON of an unknown kind; wanted: {_KINDS}.")


def _add(rows: Rows, found: Rows, seen: dict[str, str]) -> None:
    """Add what was read, each run once: of two, the one with more in it."""
    doubled = {run["run_id"] for run in found["runs"] if run["run_id"] in seen}
    for run in found["runs"]:
        if run["run_id"] not in doubled:
            seen[run["run_id"]] = run["source"]
        elif not run["recalled"]:
            text = f"The same run as {seen[run['run_id']]}; it is counted once."
            rows["notices"].append({"source": run["source"], "text": text})
    for table, items in found.items():
        rows.setdefault(table, []).extend(
            item for item in items if item.get("run_id") not in doubled
        )


def _differences(runs: list[Row]) -> Iterator[Row]:
    """Sentences on runs that should not be compared as they stand."""
    current = [run for run in runs if not run["recalled"]]
    for column, said in (
        ("spec_version", "versions of the specification ({}): a rule may mean something else"),
        ("machine", "machines ({}): times are compared within each, as ratios, never across"),
    ):
        values = sorted({str(run[column]) for run in current if run.get(column)})
        if len(values) > 1:
            yield {"source": "", "text": f"Runs of different {said.format(', '.join(values))}."}
