"""What torch, the standard library and the suite were made of before foreign code ran.

A loss, or a library that it imports, may replace ``torch.equal`` or ``json.dumps``; the
suite runs in the same process and judges with them.  So what the suite itself uses is
looked at after every call (some 30 us) and everything after every rule, and put back.
"""

from __future__ import annotations

import builtins
import functools
import gc
import inspect
import json
import math
import operator
import os
import random
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
import torch._compile as torch_compile
import torch.nn.functional

_MODULES: tuple[ModuleType, ...] = (
    torch,
    torch.nn.functional,
    torch.autograd,
    torch.linalg,
    torch.special,
    builtins,
    functools,
    gc,
    inspect,
    json,
    json.decoder,
    json.encoder,
    math,
    operator,
    os,
    random,
    threading,
    time,
)
_CLASSES: tuple[type, ...] = (torch.Tensor, torch.autograd.Function)
_PACKAGE = __name__.partition(".")[0]
_MISSING = object()


class _Place:
    """Functions and classes of one module or class, by name."""

    def __init__(self, owner: Any, only: Collection[str] | None = None) -> None:
        self._owner = owner
        self._members: Mapping[str, Any] = vars(owner)
        self._only = only
        self.note()

    def note(self) -> None:
        """What there is now is right."""
        self._size = len(self._members)
        self._named = {
            name: value
            for name, value in self._members.items()
            if self._wanted(name)
            and (callable(value) or isinstance(value, (staticmethod, classmethod, property)))
        }
        self._values = tuple(self._named.values())
        self._get = operator.itemgetter(*self._named) if len(self._named) > 1 else None

    def _wanted(self, name: str) -> bool:
        return self._only is None or name in self._only

    def put_back(self) -> Iterator[str]:
        """Undo replacements; the names of what had been replaced."""
        if self._unchanged():
            return
        if any(_wrapped_by_torch(self._members.get(n), old) for n, old in self._named.items()):
            self._accept_torchs_own()
        for name, value in self._named.items():
            if self._members.get(name, _MISSING) is not value:
                setattr(self._owner, name, value)
                yield f"{self._owner.__name__}.{name}"
        if isinstance(self._owner, type):
            yield from self._unhidden(self._owner)
        self._size = len(self._members)

    def as_noted(self) -> bool:
        """Whether nothing was replaced, added or taken away since."""
        return len(self._members) == self._size and self._unchanged()

    def _unchanged(self) -> bool:
        # A name that is new in a class may hide what it inherits; one of a module does not.
        if isinstance(self._owner, type) and len(self._members) != self._size:
            return False
        if self._get is None:
            return not self._named
        try:
            return all(map(operator.is_, self._get(self._members), self._values))
        except KeyError:
            return False

    def _accept_torchs_own(self) -> None:
        for name, old in self._named.items():
            if _wrapped_by_torch(self._members.get(name), old):
                self._named[name] = self._members[name]
        self._values = tuple(self._named.values())

    def _unhidden(self, owner: type) -> Iterator[str]:
        for name in [name for name in self._members if name not in self._named]:
            hides = any(name in vars(base) for base in owner.__mro__[1:])
            if hides and callable(self._members[name]) and self._wanted(name):
                delattr(owner, name)
                yield f"{owner.__name__}.{name}"


def _wrapped_by_torch(new: Any, old: Any) -> bool:
    """Whether torch itself put ``new`` there: importing torch._dynamo wraps torch.manual_seed."""
    code = getattr(new, "__code__", None)
    return (
        new is not old
        and getattr(new, "__wrapped__", None) is old
        and getattr(code, "co_filename", None) == torch_compile.__file__
    )


class Originals:
    """A picture of the functions that judging relies on, and of all the others."""

    def __init__(self) -> None:
        own = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] == _PACKAGE]
        used = {name for module in own for name in _names_used(module)}
        used |= {name for name in dir(torch.Tensor) if name.startswith("__")}
        self._all = [_Place(owner) for owner in (*_MODULES, *_CLASSES, *own)]
        self._used = [_Place(owner, used) for owner in (*_MODULES, *_CLASSES)]
        self._used += [_Place(m) for m in own if m.__name__.startswith(f"{_PACKAGE}.judge")]

    def note(self) -> None:
        """What there is now is right: what others replaced since is theirs."""
        for place in (*self._all, *self._used):
            if not place.as_noted():
                place.note()

    def put_back(self, *, everything: bool) -> tuple[str, ...]:
        """Put back what was replaced since; its names, such as ``torch.equal``."""
        places = self._all if everything else self._used
        return tuple(name for place in places for name in place.put_back())


@functools.cache
def picture() -> Originals:
    """The one of this process, taken when it is first asked for."""
    from .discover import rules

    rules()  # with all that judges
    return Originals()


def _names_used(module: ModuleType) -> Iterator[str]:
    """Every name that the code of a module looks up somewhere."""
    for member in vars(module).values():
        functions = vars(member).values() if isinstance(member, type) else (member,)
        for function in functions:
            inner = inspect.unwrap(function) if callable(function) else None
            if isinstance(inner, FunctionType):
                yield from _names_in(inner.__code__)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
