"""Where the code of a target lives, and the same place in an older state of its repository."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..discover import registered
from ..errors import UsageError
from ..targets import Lazily


@dataclass(frozen=True)
class Source:
    """A target as a process can load it: what to name, and what to put on the path first."""

    target: str
    root: Path


def locate(target: str) -> Source:
    """The import root of a target's code, or the folder of its file; UsageError if unknown."""
    name = target
    if target in registered():
        load = registered()[target].load
        if not isinstance(load, Lazily):
            raise UsageError(
                f"{target!r} does not say where it lives: give package.module:attr instead."
            )
        name = load.target
    place, colon, attribute = name.rpartition(":")
    if not colon:
        raise UsageError(f"target {target!r} names no attribute: package.module:attr.")
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.is_file():
            raise UsageError(f"there is no file {place!r}.")
        return Source(f"{path}:{attribute}", path.parent)
    spec = importlib.util.find_spec(place)
    if spec is None or spec.origin is None:
        raise UsageError(f"target {target!r}: there is no module {place!r} here.")
    depth = place.count(".") + (1 if spec.submodule_search_locations is not None else 0)
    return Source(target, Path(spec.origin).resolve().parents[depth])


@contextlib.contextmanager
def before(source: Source, old: str) -> Iterator[Source]:
    """The same code at ``old``, a commit or a folder that holds the repository's files.

    A commit's files are put into a temporary folder; the repository is only read.
    """
    top = _git(source.root, "rev-parse", "--show-toplevel")
    if top is None:
        raise UsageError(
            f"{source.target!r} lives in {source.root}, which is in no git repository: there "
            "is no older state to compare with."
        )
    if Path(old).is_dir():
        yield _moved(source, Path(top), Path(old).resolve())
        return
    commit = _git(source.root, "rev-parse", "--verify", "--quiet", f"{old}^{{commit}}")
    if commit is None:
        raise UsageError(f"{old!r} is neither a folder nor a commit of {top}.")
    with tempfile.TemporaryDirectory(prefix="nll-conformance-") as folder:
        packed = Path(folder) / "tree.tar"
        # with -C at the top: archive packs the current folder only
        if _git(Path(top), "archive", "--format=tar", f"--output={packed}", commit) is None:
            raise UsageError(f"git cannot archive {old!r} of {top}.")
        with tarfile.open(packed) as archive:
            archive.extractall(Path(folder) / "tree", filter="data")
        yield _moved(source, Path(top), Path(folder) / "tree")


def _moved(source: Source, top: Path, tree: Path) -> Source:
    root = tree / source.root.relative_to(Path(top).resolve())
    if not root.is_dir():
        raise UsageError(f"there was no {source.root.relative_to(Path(top).resolve())} then.")
    place, _, attribute = source.target.rpartition(":")
    if place.endswith(".py"):
        return Source(f"{root / Path(place).name}:{attribute}", root)
    return Source(source.target, root)


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]  # whichever git the user has
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
