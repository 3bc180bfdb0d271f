"""Declaring a loss that another distribution brings."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nll_conformance.model import Implementation

from ..installed import is_there
from ._findings import expected_of


@dataclass(frozen=True)
class FromPackages:
    """A ``load`` that asks first whether the packages are there; only then it imports.

    ``where`` is ``module:function`` of a function that prepares a package and returns the
    loss in its family's call.
    """

    where: str
    distribution: str
    requires: tuple[str, ...]

    def missing(self) -> str | None:
        """The first package that is not installed; imports none of them."""
        return next((name for name in self.requires if not is_there(name)), None)

    def __call__(self) -> Callable[..., Any]:
        if (name := self.missing()) is not None:
            raise ImportError(f"package {name!r} is not installed", name=name)
        module, _, function = self.where.partition(":")
        loss: Callable[..., Any] = getattr(importlib.import_module(module), function)()
        return loss


def from_package(
    name: str,
    load: Callable[[], Callable[..., Any]],
    *,
    distribution: str,
    requires: tuple[str, ...],
    family: str = "cross_entropy",
    **declared: Any,
) -> Implementation:
    """The declaration of a loss of ``distribution``, which ``load`` adapts.

    Its known failures are those of its package's file of findings.
    """
    return Implementation(
        name=name,
        load=FromPackages(f"{load.__module__}:{load.__name__}", distribution, requires),
        family=family,
        expected=expected_of(name),
        version=_version(distribution),
        **declared,
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
