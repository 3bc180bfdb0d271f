"""What is asked for of one target, as the supervisor tells a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .model import Profile


@dataclass(frozen=True)
class Wish:
    """What is asked for of one target: a JSON object both ways."""

    target: str
    family: str | None = None
    supports: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    declare: Mapping[str, str] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    profile: Profile = "standard"
    rules: tuple[str, ...] = ()
    seed: int = 0
    database: str | None = None
    #: The first failure ends the run: rules that fail most often go first.
    fail_fast: bool = False
    #: Only verdicts count, of many losses in one process: the first failing case will do, as
    #: it was drawn and without a program.
    verdicts_only: bool = False

    def to_json(self) -> dict[str, Any]:
        """The wish as a message to a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Wish:
        """The wish that :meth:`to_json` described."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**fields)
