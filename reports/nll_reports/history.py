"""The history: a folder with one file for each run, written once and never changed.

A file holds the tables of its run as gzipped JSON, without messages, cases and reproducers,
which makes a run of thirty thousand results some fifty kilobytes.  It appears under its name
complete or not at all, and the name is made from the run's id, so that two processes that
record at once neither lose nor double anything.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nll_conformance.errors import UsageError
from nll_conformance.results import plain

from .frames import COLUMNS, Frames, Row, Rows, rows_of
from .inputs import number

SCHEMA = 1
#: What is kept of a run.
KEPT = ("runs", "implementations", "outcomes", "accuracy", "bench", "trials", "baselines")
#: Kinds of runs that keep a history of their own.
_ELSEWHERE = ("asv",)
_ID = re.compile(r"[0-9a-zA-Z-]{8,64}")


def record(frames: Frames, directory: str | os.PathLike[str]) -> list[Path]:
    """Add every run of ``frames`` that is not there yet; the files that were written."""
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot keep a history in {folder}: {error.strerror}.") from None
    written = []
    for run in rows_of(frames.runs):
        if run["recalled"] or run["kind"] in _ELSEWHERE:
            continue
        at = folder / _name(run, frames)
        if not at.exists() and _write(at, _packed(run, frames)):
            written.append(at)
    return written


def _name(run: Row, frames: Frames) -> str:
    """The run's file; one that was cut short gets another once it has been completed."""
    run_id = str(run["run_id"])
    if not _ID.fullmatch(run_id):  # foreign text
        run_id = hashlib.sha256(run_id.encode()).hexdigest()[:32]
    if run["complete"]:
        return f"{run['kind']}-{run_id}.json.gz"
    done = sum(
        int((getattr(frames, t).run_id == run["run_id"]).sum()) for t in ("results", "bench")
    )
    return f"{run['kind']}-{run_id}-cut-{done}.json.gz"


def _packed(run: Row, frames: Frames) -> bytes:
    packed: dict[str, Any] = {"kind": "history", "schema": SCHEMA}
    for table in KEPT:
        frame = getattr(frames, table)
        mine = rows_of(frame[frame.run_id == run["run_id"]])
        columns = [column for column in COLUMNS[table] if column != "run_id"]
        packed[table] = {
            "columns": columns,
            "rows": [[row[column] for column in columns] for row in mine],
        }
    packed["run_id"] = run["run_id"]
    text = json.dumps(plain(packed), allow_nan=False, separators=(",", ":"))
    return gzip.compress(text.encode(), mtime=0)


def _write(path: Path, data: bytes) -> bool:
    """Put the file there whole; False where another process has done so."""
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    return True


def recall(directory: Path, notices: list[Row]) -> Iterator[Rows]:
    """The rows of each run, complete ones before those that were cut short."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is no folder; a history is a folder.")
    files = sorted(directory.glob("*.json.gz"))
    whole = [file for file in files if "-cut-" not in file.name]
    cut = [file for file in files if "-cut-" in file.name]
    for file in (*whole, *sorted(cut, key=_progress, reverse=True)):
        try:
            yield _unpacked(file)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            text = f"no readable file of a history ({type(error).__name__}); it was left out."
            notices.append({"source": str(file), "text": text})


def _progress(file: Path) -> int:
    """How far a run that was cut short had come."""
    count = file.name.rpartition("-cut-")[2].partition(".")[0]
    return int(count) if count.isdigit() else 0


def _unpacked(file: Path) -> Rows:
    packed = json.loads(gzip.decompress(file.read_bytes()))
    if packed["kind"] != "history" or packed["schema"] != SCHEMA:
        raise ValueError
    run_id = str(packed["run_id"])
    rows: Rows = {}
    for table in KEPT:
        columns = packed[table]["columns"]
        rows[table] = [
            {**dict(zip(columns, values, strict=True)), "run_id": run_id}
            for values in packed[table]["rows"]
        ]
    for row in rows["runs"]:
        row["recalled"] = True
    for row in (*rows["accuracy"], *rows["bench"]):
        for column, value in row.items():
            if isinstance(value, str) and value in ("nan", "inf", "-inf"):
                row[column] = number(value)
    return rows
