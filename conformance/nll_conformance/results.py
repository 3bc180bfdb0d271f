"""The results file: JSON Lines, written as the run goes, read with every line checked.

Each line is complete once it ends with a newline; whatever kills a run leaves complete
lines and at most one half one, which readers drop.  The footer tells a finished run from
one that was cut short.  Numbers that JSON lacks travel as "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from .errors import UsageError
from .lines import bad_line, parse
from .locked import LockedFile
from .model import Result
from .render.text import harmless, one_line
from .report import Report

#: Characters kept of each text of a result; what foreign code says may be megabytes.
NAME_LIMIT, TEXT_LIMIT, REPRODUCER_LIMIT = 200, 4000, 200_000
#: Fields that differ between two runs with the same results.
VOLATILE = ("seconds",)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: non-finite floats as strings, tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def encode(line: Mapping[str, Any]) -> bytes:
    """One complete line."""
    return json.dumps(plain(line), allow_nan=False).encode() + b"\n"


def tame(result: Result) -> Result:
    """The result as it is written: its texts bounded and free of control sequences."""
    return replace(
        result,
        implementation=one_line(result.implementation, NAME_LIMIT),
        message=harmless(result.message, TEXT_LIMIT),
        reason=harmless(result.reason, TEXT_LIMIT),
        finding=harmless(result.finding, TEXT_LIMIT),
        link=harmless(result.link, TEXT_LIMIT),
        reproducer=harmless(result.reproducer, REPRODUCER_LIMIT),
    )


def ensure_writable(path: str | os.PathLike[str]) -> None:
    """Refuse, before anything runs, a path at which no results file can be written."""
    target = Path(path)
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write results to {target}: there is no folder {folder}.")
    if target.is_dir():
        raise UsageError(f"cannot write results to {target}: it is a folder, name a file.")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise UsageError(f"cannot write results to {target}: permission denied.")
    if target.is_file() and target.stat().st_size and not _is_results(target):
        # a mistyped option must not cost anybody their source file
        raise UsageError(
            f"will not overwrite {target}: it exists and is no results file. "
            "Delete it or name another."
        )


def _is_results(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return start.startswith(b"{") and b'"kind"' in start and b'"header"' in start


class Writer:
    """Appends to one results file; made by :func:`create` or :func:`resume`.

    Every line has reached the operating system when :meth:`add` returns, and no other run
    can write the file until it is closed.
    """

    def __init__(self, file: LockedFile) -> None:
        self.path = file.path
        self._file = file

    def add(self, result: Result) -> Result:
        """Append one result and return it as it was written (see :func:`tame`)."""
        tamed = tame(result)
        self._file.append(encode({"kind": "result", **tamed.to_json()}))
        return tamed

    def finish(self, footer: Mapping[str, Any]) -> None:
        """Append the footer, make sure all of it is on the disk, and close."""
        with self._file as file:
            file.append(encode({"kind": "footer", **footer}))
            file.sync()

    def close(self) -> None:
        """Release the file; without a footer it counts as cut short."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create(path: str | os.PathLike[str], header: Mapping[str, Any]) -> Writer:
    """A new results file with that header; an older results file of that name is replaced.

    Where the header cannot be written, no file is left that was not there before.
    """
    ensure_writable(path)
    existed = Path(path).exists()
    file = LockedFile(path, create=True)
    try:
        file.cut(0)
        file.append(encode({"kind": "header", **header}))
    except UsageError:
        file.close()
        if not existed:
            file.path.unlink(missing_ok=True)
        raise
    return Writer(file)


def resume(path: str | os.PathLike[str]) -> tuple[Report, Writer]:
    """What that file holds, and a writer that goes on after its last complete result.

    A half line and the footer of an interrupted run are cut off; nothing else changes.
    """
    read(path)  # what is wrong with the file is said before it is opened for writing
    file = LockedFile(path, create=False)
    try:
        report = read(path)  # again, now that nobody else writes
        file.cut(_end_of_results(file.path.read_bytes()))
    except BaseException:
        file.close()
        raise
    return report, Writer(file)


def _end_of_results(data: bytes) -> int:
    """Where the last complete line that is no footer ends."""
    end = data.rfind(b"\n") + 1
    last = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
    is_footer = last > 0 and json.loads(data[last:end]).get("kind") == "footer"
    return last if is_footer else end


def read(path: str | os.PathLike[str]) -> Report:
    """The report in that file; without a footer where the run was cut short.

    Raises UsageError, naming file and line, for a file that is no results file, of another
    schema, or malformed anywhere but in a last line without its newline.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot read results from {path}: {reason}.") from None
    lines = data.split(b"\n")[:-1]  # what follows the last newline was never finished
    if not lines:
        raise bad_line(path, 1, "no header: empty, or cut short before its first line ended")
    header: Mapping[str, Any] = {}
    footer: Mapping[str, Any] | None = None
    results: dict[tuple[str, ...], Result] = {}
    for number, line in enumerate(lines, 1):
        if footer is not None:
            raise bad_line(path, number, "a line after the footer; it must be the last")
        found = parse(path, number, line)
        if isinstance(found, Result):
            _place(path, number, results, found)
        elif found["kind"] == "header":
            header = found
        else:
            footer = found
    return Report(header, tuple(results.values()), footer)


def _place(
    path: str | os.PathLike[str],
    number: int,
    results: dict[tuple[str, ...], Result],
    result: Result,
) -> None:
    """A resumed run judges what the first left as not_run; any other repeat is a mix-up."""
    earlier = results.get(result.key)
    if earlier is not None and earlier.outcome != "not_run":
        raise bad_line(path, number, f"a second result for {' '.join(result.key)}")
    results[result.key] = result


def comparable(report: Report) -> list[dict[str, Any]]:
    """The result lines sorted by key, without times: equal for runs with the same results."""
    ordered = sorted((tame(result) for result in report.results), key=lambda r: r.key)
    return [
        {key: plain(item) for key, item in result.to_json().items() if key not in VOLATILE}
        for result in ordered
    ]
