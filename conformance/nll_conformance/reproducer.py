"""A failing case as a program of its own: torch, the loss, a few lines, the discrepancy.

What the program computes is bit for bit what :mod:`.recipes` builds: small tensors are
literals, larger ones the recipe's own integer arithmetic, then the edits, then the layout.
It ends with exit code 1 where the discrepancy is still there, with 0 where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from .model import Case, Finding
from .reproducer_comparison import comparison
from .reproducer_target import imports
from .reproducer_tensors import helpers, literal, tensor_lines

if TYPE_CHECKING:
    from .recipes import TensorRecipe

#: What makes the loss of what the target names: a call, or the ``load`` of an Implementation.
Load: TypeAlias = Literal["", "()", ".load()"]

#: Tensors that every call of some family needs: they go by position, in this order.
POSITIONAL = ("input", "linear_weight", "target", "var")


@dataclass(frozen=True)
class Loss:
    """How a program calls the loss.

    A module class has ``forward_only``: what else is given goes to its constructor.  ``fixed``
    options belong to the target and are not passed; of the tensors that it ``mutates`` it gets
    copies.
    """

    name: str
    forward_only: Collection[str] | None = None
    fixed: Collection[str] = ()
    mutates: tuple[str, ...] = ()

    def call(self, case: Case, *, bare: bool = False) -> str:
        """The expression that calls it with the tensors of that case, as variables."""
        positional, keywords = self._given(case, () if bare else self.mutates)
        name = self.name
        if self.forward_only is not None:
            name = self.object(case)
            keywords = {k: v for k, v in keywords.items() if k in self.forward_only}
        return f"{name}({', '.join([*positional, *_spelt_out(keywords)])})"

    def object(self, case: Case) -> str:
        """The expression that makes an object of the module class for that case."""
        return f"{self.name}({', '.join(_spelt_out(self._made(case)))})"

    def made_once(self, case: Case, name: str) -> Loss:
        """How the object of that name is called, which was made for that case."""
        return replace(self, name=name, forward_only=None, fixed={*self.fixed, *self._made(case)})

    def _made(self, case: Case) -> dict[str, str]:
        _, keywords = self._given(case, ())
        return {k: v for k, v in keywords.items() if k not in (self.forward_only or ())}

    def _given(self, case: Case, copied: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        given = {name: f"{name}.clone()" if name in copied else name for name, _ in case.recipe}
        positional = [given.pop(name) for name in POSITIONAL if name in given]
        given |= {k: literal(v) for k, v in case.options}
        return positional, {k: v for k, v in given.items() if k not in self.fixed}


def _spelt_out(keywords: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in keywords.items()]


def program(
    case: Case,
    target: str,
    *,
    finding: Finding | None = None,
    shows: str = "",
    forward_only: Collection[str] | None = None,
    load: Load = "",
    fixed: Collection[str] = (),
    mutates: tuple[str, ...] = (),
) -> str:
    """Runnable Python that makes the calls of a finding and fails while it is there.

    ``target`` is a TARGET of the command line (``module:attr`` or ``file.py:attr``); a name
    without a colon is left for the reader to fill in.  ``load`` says that the loss is what the
    target, or its ``load()``, returns.  Without a ``finding`` the program makes the one call
    of ``case`` and prints loss and gradients.

    The program makes the tensors, does what the rule ``shows``, and compares the entry that
    the finding speaks of.  Without ``shows`` that is each call that the rule made, with its
    backward.  See :func:`~nll_conformance.contract.rule` for what ``shows`` may contain.
    """
    calls = (finding.calls if finding else ()) or (case,)
    own = calls if shows or len(calls) > 1 else (case,)
    recipes = [recipe for each in own for _, recipe in _tensors(each)]
    words = set(re.findall(r"[A-Za-z_]\w*", shows))
    found, name = imports(target, words | {name for name, _ in _tensors(case)})
    loss = Loss(f"{name}{load}", forward_only, fixed, mutates)
    steps = _shown(shows, own, loss, finding) if shows else _calls(own, loss, finding)
    end = comparison(case, finding, shows) if finding else []
    return "\n".join(["import torch", *found, *helpers(recipes), "", *steps, *end]) + "\n"


def _tensors(case: Case) -> list[tuple[str, TensorRecipe]]:
    upstream = case.upstream
    return [*case.recipe, *([("upstream", upstream)] if upstream is not None else [])]


def _tensor_lines(case: Case, there: Collection[str] = ()) -> list[str]:
    """The lines that make the tensors of that case, but for those that are there already."""
    return [
        line
        for name, each in _tensors(case)
        if name not in there
        for line in tensor_lines(name, each, case.device)
    ]


def _backward(case: Case) -> list[str]:
    return ["loss.backward(upstream)"] if case.upstream is not None else []


def _leaves(case: Case) -> list[str]:
    return [name for name, recipe in case.recipe if recipe.grad]


def _calls(calls: tuple[Case, ...], loss: Loss, finding: Finding | None) -> list[str]:
    """Each call and its backward; loss and gradients of the last are printed."""
    lines = []
    for each in calls:
        lines += [*_tensor_lines(each, loss.fixed), f"loss = {loss.call(each)}", *_backward(each)]
    last = calls[-1]
    backward = len(_backward(last))
    if finding and finding.kind == "shape" and finding.of == "loss":
        return lines[: len(lines) - backward]  # it would raise for another reason
    lines.insert(len(lines) - backward, 'print("loss:", loss)')
    if backward:
        lines += [f'print("gradient of {name}:", {name}.grad)' for name in _leaves(last)]
    return lines


def _spelt(call: str, reduction: str) -> str:
    """The call with its reduction put together at run time, as a string of its own."""
    return call.replace(f"reduction={reduction!r}", f'reduction="".join({list(reduction)!r})')


def _shown(shows: str, calls: tuple[Case, ...], loss: Loss, finding: Finding | None) -> list[str]:
    """The template with its blanks filled in."""
    case, other = calls[0], calls[-1]
    judged = finding.case if finding else None
    made = loss.object(case)
    if "{object}" in shows:
        loss = loss.made_once(case, "loss_object")
    blocks = {
        "{later_calls}": _calls(calls[1:], loss, finding) if calls[1:] else [],
        "{tensors}": _tensor_lines(case),
        "{other_tensors}": _tensor_lines(other, loss.fixed),
        "{backward}": _backward(case),
    }
    blanks = {
        "object": made,
        "call": loss.call(case),
        "other_call": loss.call(other),
        "bare_call": loss.call(case, bare=True),
        "spelt_call": _spelt(loss.call(case), str(case.reduction)),
        "names": ", ".join(name for name, _ in case.recipe),
        "leaves": ", ".join(_leaves(case)),
        "mutates": repr(loss.mutates),
        "want": finding.want if finding else "",
        "judged": max((i for i, each in enumerate(calls) if each == judged), default=-1),
    }
    lines = [] if "{tensors}" in shows else _tensor_lines(case)
    for line in shows.strip("\n").splitlines():
        text = line.strip()
        margin = line[: len(line) - len(line.lstrip())]
        filled = blocks[text] if text in blocks else [text.format(**blanks)]
        lines += [f"{margin}{each}" for each in filled]
    return lines
