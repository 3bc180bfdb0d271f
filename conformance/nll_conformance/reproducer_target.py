"""The lines with which a reproducer imports the loss it is about."""

from __future__ import annotations

import keyword
import os
import sys

from .render.text import one_line

#: Names that the rest of a reproducer uses.
_TAKEN = {"torch", "loss", "got", "want", "bound", "scatter", "simplex", "module", "spec"}
#: Files of these names cannot be imported by name beside torch.
_SHADOWED = {*sys.stdlib_module_names, *keyword.kwlist, "torch", "numpy", "triton"}


def imports(target: str, taken: set[str]) -> tuple[list[str], str]:
    """The import lines for that TARGET, and the expression that names the loss.

    A target that cannot be imported by name leaves a line for the reader to complete.
    """
    module, colon, attr = target.rpartition(":")
    if not colon or not _is_name(attr):
        return _unnamed(target)
    first: list[str] = []
    if module.endswith(".py") or "/" in module or "\\" in module:
        folder, name = os.path.split(module.removesuffix(".py"))
        if not name.isidentifier() or name in _SHADOWED:
            return _from_file(module), f"module.{attr}"
        first = ["import sys", "", f"sys.path.insert(0, {folder or '.'!r})"]
        module = name
    if not _is_name(module):
        return _unnamed(target)
    root, dot, rest = attr.partition(".")
    if root in _TAKEN | taken:
        renamed = f"from {module} import {root} as loss_function"
        return [*first, renamed], f"loss_function{dot}{rest}"
    return [*first, f"from {module} import {root}"], attr


def _is_name(text: str) -> bool:
    parts = text.split(".")
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


def _unnamed(target: str) -> tuple[list[str], str]:
    return ["", f"loss_function = ...  # your loss: {one_line(target, 80)}"], "loss_function"


def _from_file(path: str) -> list[str]:
    """For a file whose name cannot be imported: its folder on the path, as in a run."""
    return [
        "import importlib.util, os, sys",
        "",
        f"path = {path!r}",
        "sys.path.insert(0, os.path.dirname(os.path.abspath(path)))",
        'spec = importlib.util.spec_from_file_location("loss_under_test", path)',
        'module = sys.modules["loss_under_test"] = importlib.util.module_from_spec(spec)',
        "spec.loader.exec_module(module)",
    ]
