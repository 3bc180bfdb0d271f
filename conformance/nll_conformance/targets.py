"""From a TARGET on the command line to the object that it names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from .discover import hostile, mutants, registered, variants
from .errors import UsageError, unknown
from .foreign import described
from .model import Implementation


class Lazily:
    """A ``load`` for ``Implementation`` that imports ``package.module:attr`` when called.

    It tells where the loss lives, so that a target which is that very object is recognised.
    """

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self) -> Callable[..., Any]:
        module, _, attribute = self.target.partition(":")
        found = importlib.import_module(module)
        for part in attribute.split("."):
            if not hasattr(found, part):  # another version of the package
                version = getattr(sys.modules[module.partition(".")[0]], "__version__", "")
                raise ImportError(f"{module} {version} has no {attribute}".replace("  ", " "))
            found = getattr(found, part)
        return found  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"lazily({self.target!r})"


def lazily(target: str) -> Callable[[], Callable[..., Any]]:
    """A loader of ``package.module:attr`` that imports nothing until it is called."""
    return Lazily(target)


def is_registered(target: str) -> bool:
    """Whether the target is the name of a registered implementation."""
    return target in registered()


@cache
def on_trial() -> dict[str, Implementation]:
    """The mutants, variants and hostile losses of the self-test; their names are targets, too."""
    return {
        **{mutant.implementation.name: mutant.implementation for mutant in mutants()},
        **{variant.name: variant for variant in variants()},
        **{harmful.implementation.name: harmful.implementation for harmful in hostile()},
    }


def resolve(target: str) -> Any:
    """The object that a TARGET names.

    A registered name gives its ``Implementation``; ``package.module:attr`` and
    ``path/file.py:attr`` give the attribute.  Raises UsageError, naming what is missing.
    """
    if target in registered():
        return registered()[target]
    if ":" not in target and target in (trials := on_trial()):
        return trials[target]
    place, colon, attribute = target.rpartition(":")
    if not colon:
        if "." in target or "/" in target:
            raise UsageError(
                f"target {target!r} names no attribute. Write package.module:attr or "
                "path/file.py:attr."
            )
        raise unknown("implementation", target, registered())
    module = _from_file(Path(place)) if place.endswith(".py") else _imported(place, target)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [name for name in vars(module) if not name.startswith("_")]
            raise unknown(f"attribute of {place}", attribute, public) from None
    return found


def _imported(name: str, target: str) -> ModuleType:
    if not name or name.startswith("."):
        raise UsageError(f"target {target!r} names no module before the ':'.")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"target {target!r}: there is no module {error.name!r} here. Is it installed "
                "in this environment, or is the working directory another one?"
            ) from error
        raise UsageError(f"target {target!r} needs {error.name!r}: {error}") from error
    except Exception as error:
        raise _import_failure(target, error) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"_nll_conformance_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _import_failure(str(path), error) from error
    return module


def _import_failure(target: str, error: Exception) -> UsageError:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return UsageError(f"target {target!r} cannot be imported: {described(error)}{place}")
