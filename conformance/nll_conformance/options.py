"""What a run is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError, unknown
from .model import PROFILES, Profile
from .runner import LOAD_S

#: The options that decide which cases are judged; a resumed run takes them over.
ASKED = (
    "family",
    "supports",
    "lacks",
    "declare",
    "dtype",
    "device",
    "profile",
    "rules",
    "random",
    "seed",
)
_LISTS = ("supports", "lacks", "dtype", "device", "rules")


@dataclass(frozen=True)
class Options:
    """What a run is asked for; the names are those of the command line.

    ``timeout`` and ``load_timeout`` are in seconds, ``memory_limit`` is in MB.
    """

    family: str | None = None
    supports: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    declare: Mapping[str, str] = field(default_factory=dict)
    dtype: tuple[str, ...] = ()
    device: tuple[str, ...] = ("cpu",)
    profile: Profile = "standard"
    rules: tuple[str, ...] = ()
    random: bool = False
    seed: int | None = None
    jobs: int | None = None
    timeout: float = 30.0
    load_timeout: float = LOAD_S
    memory_limit: int | None = None
    isolation: bool = True
    fail_fast: bool = False
    expected: str | os.PathLike[str] | None = None
    strict: bool = False
    json: str | os.PathLike[str] | None = None
    resume: str | os.PathLike[str] | None = None

    def asked(self) -> dict[str, Any]:
        """What decides which cases are judged, as a JSON object for the header."""
        return {name: getattr(self, name) for name in ASKED}

    def validate(self) -> None:
        """Raises UsageError for values that make no sense."""
        if self.profile not in PROFILES:
            raise unknown("profile", self.profile, PROFILES)
        for name, seconds in (("timeout", self.timeout), ("load-timeout", self.load_timeout)):
            if not seconds > 0:
                raise UsageError(f"--{name} {seconds:g} is not a positive number of seconds.")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs} is not a positive number.")
        if self.json is not None and self.resume is not None:
            raise UsageError("--resume goes on with its own file: leave --json out.")


def options_of(given: Mapping[str, Any], without: Iterable[str] = ()) -> Options:
    """Options from keywords; a list may be written as one text with commas.

    Raises UsageError for a name that is none of them, or one of ``without``.
    """
    choices = [name for name in Options.__dataclass_fields__ if name not in without]
    for name in given:
        if name not in choices:
            raise unknown("option", name, choices)
    lists = {name: _words(value) for name, value in given.items() if name in _LISTS}
    return Options(**{**given, **lists})


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str):
        return tuple(value)
    return tuple(word.strip() for word in value.split(",") if word.strip())
