"""The lines of a benchmark's file: what one measurement says, and how it is written.

JSON Lines with a header and a footer, as the results of ``check`` and with the same join
keys; ``schemas/bench.schema.json`` is the published description.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from ..locked import LockedFile
from ..results import encode, ensure_writable

Pass: TypeAlias = Literal["forward", "backward", "both"]
Outcome: TypeAlias = Literal["timed", "wrong", "unsupported", "not_installed", "error"]

#: Number of the format; another number is another format.
SCHEMA = 1
PASSES: tuple[Pass, ...] = ("forward", "backward", "both")
OUTCOMES: tuple[Outcome, ...] = ("timed", "wrong", "unsupported", "not_installed", "error")
#: Outcomes of an implementation that should have been timed and could not be.
BAD_OUTCOMES: tuple[Outcome, ...] = ("wrong", "error")
#: What is measured beside the implementations: into given and into fresh memory.
REFERENCES = ("copy", "clone")


@dataclass(frozen=True)
class Key:
    """The join keys of a measurement, without the implementation's name."""

    family: str
    dtype: str
    device: str
    shape: str
    phase: Pass


@dataclass(frozen=True)
class Line:
    """One implementation at one shape, dtype, device and pass.

    Times are medians over the rounds with their 95 % interval; ratios are medians of the
    ratios within a round.  None is "not known".
    """

    implementation: str
    key: Key
    outcome: Outcome
    version: str | None = None
    message: str = ""
    rounds: int = 0
    time_ms: float | None = None
    time_ms_low: float | None = None
    time_ms_high: float | None = None
    copy_time_ms: float | None = None
    ratio_to_copy: float | None = None
    ratio_to_copy_low: float | None = None
    ratio_to_copy_high: float | None = None
    ratio_to_torch: float | None = None
    ratio_to_torch_low: float | None = None
    ratio_to_torch_high: float | None = None
    added_bytes: int | None = None
    added_bytes_ratio: float | None = None
    gb_per_s: float | None = None
    error_over_bound: float | None = None
    error_units: float | None = None
    limits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object written to the file (without ``kind``)."""
        fields = asdict(self)
        key = fields.pop("key")
        key["pass"] = key.pop("phase")
        return {"implementation": fields.pop("implementation"), **key, **fields}


class Writer:
    """A benchmark's file: each line has reached the system when :meth:`add` returns."""

    def __init__(self, path: str | os.PathLike[str], header: Mapping[str, Any]) -> None:
        ensure_writable(path)
        self._file = LockedFile(path, create=True)
        self._file.cut(0)
        self._file.append(encode({"kind": "header", **header}))

    def add(self, line: Line) -> None:
        """Append one measurement."""
        self._file.append(encode({"kind": "bench", **line.to_json()}))

    def finish(self, footer: Mapping[str, Any]) -> None:
        """Append the footer; a file without one was cut short."""
        self._file.append(encode({"kind": "footer", **footer}))
        self._file.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def counts(lines: Iterable[Line]) -> dict[str, int]:
    """How many lines ended in each outcome that occurred."""
    return dict(sorted(Counter(line.outcome for line in lines).items()))
