"""A module in which nothing can be looked up."""

from __future__ import annotations

from typing import NoReturn


class Unreadable(BaseException):
    """Its message raises."""

    def __str__(self) -> str:
        raise self


def __getattr__(name: str) -> NoReturn:
    raise Unreadable
