"""Whether a package is there, and new enough, told without importing it."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version

from nll_conformance.targets import Lazily


def is_there(requirement: str) -> bool:
    """Whether ``"package"`` or ``"package>=1.2"`` is met here."""
    name, _, least = requirement.partition(">=")
    try:
        if importlib.util.find_spec(name) is None:
            return False
        return not least or _numbers(version(name)) >= _numbers(least)
    except (ModuleNotFoundError, PackageNotFoundError):
        return False


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


class Since(Lazily):
    """As :func:`lazily`, of something that only newer versions of a package have."""

    def __init__(self, requirement: str, target: str) -> None:
        super().__init__(target)
        self._requirement = requirement

    def missing(self) -> str | None:
        """The requirement, if it is not met."""
        return None if is_there(self._requirement) else self._requirement
