"""What the page shows, a module for each view: from the tables to compact JSON.

``payload`` of each module returns plain lists and numbers; the script of the same name in
``templates/app`` draws them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Numbered(Generic[Key]):
    """Things by number: a column of numbers is smaller than one of names."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._places: dict[Key, int] = {}
        for key in keys:
            self(key)

    def __call__(self, key: Key) -> int:
        return self._places.setdefault(key, len(self._places))

    def __contains__(self, key: object) -> bool:
        return key in self._places

    @property
    def keys(self) -> list[Key]:
        """The things, in the order of their numbers."""
        return list(self._places)


def short(value: Any, digits: int = 4) -> Any:
    """A number with so many significant digits; "inf" and "nan" as text, None as None."""
    if value is None:
        return None
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return str(float(value))
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
