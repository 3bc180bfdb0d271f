"""A failing case as a program of its own: torch, the loss, a few lines, the discrepancy.

What the program computes is bit for bit what :mod:`.recipes` builds: small tensors are
literals, larger ones the recipe's own integer arithmetic, then the edits, then the layout.
"""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

from .model import Case, Finding
from .render.text import one_line
from .reproducer_target import imports
from .reproducer_tensors import helpers, literal, tensor_lines

Style: TypeAlias = Literal["function", "module"]

#: Tensors that every call of some family needs: they go by position, in this order.
POSITIONAL = ("input", "linear_weight", "target", "var")
#: Tensors that an ``nn.Module`` takes in its constructor.
CONSTRUCTOR = ("weight", "pos_weight")


def program(
    case: Case,
    target: str,
    *,
    finding: Finding | None = None,
    of: str | None = None,
    check: tuple[str, ...] = (),
    style: Style = "function",
    load: bool = False,
) -> str:
    """Runnable Python that makes the call of ``case`` and prints loss and gradients.

    ``target`` is a TARGET of the command line (``module:attr`` or ``file.py:attr``); a name
    without a colon is left for the reader to fill in.  With a ``finding`` the program ends
    by comparing the entry at its index and fails (exit code 1) where the discrepancy is
    still there.  ``of`` says of what: "loss", or the tensor whose gradient it is; by default
    what the finding's message speaks of.  A finding about anything else is said in comments,
    unless ``check`` gives lines of the caller's own.
    ``style`` "module" passes options to the constructor; ``load`` says that the target is
    an ``Implementation`` whose ``load()`` returns the loss.
    """
    tensors = [*case.recipe]
    if case.upstream is not None:
        tensors.append(("upstream", case.upstream))
    recipes = [recipe for _, recipe in tensors]
    found, loss = imports(target, {name for name, _ in tensors})
    lines = [
        "import torch",
        *found,
        *helpers(recipes),
        "",
        *(line for name, recipe in tensors for line in tensor_lines(name, recipe, case.device)),
        f"loss = {_call(case, f'{loss}.load()' if load else loss, style)}",
        'print("loss:", loss)',
        *_backward(case),
    ]
    if check:
        lines += check
    elif finding is not None:
        lines += _comparison(case, finding, of)
    return "\n".join(lines) + "\n"


def _call(case: Case, loss: str, style: Style) -> str:
    names = [name for name, _ in case.recipe]
    positional = [name for name in POSITIONAL if name in names]
    keywords = [(name, name) for name in names if name not in positional]
    options = [(name, literal(value)) for name, value in case.options]
    if style == "module":
        fixed = [pair for pair in keywords if pair[0] in CONSTRUCTOR] + options
        loss = f"{loss}({', '.join(f'{key}={value}' for key, value in fixed)})"
        keywords = [pair for pair in keywords if pair[0] not in CONSTRUCTOR]
        options = []
    arguments = [*positional, *(f"{key}={value}" for key, value in keywords + options)]
    return f"{loss}({', '.join(arguments)})"


def _backward(case: Case) -> list[str]:
    if case.upstream is None:
        return []
    wanted = [name for name, recipe in case.recipe if recipe.grad]
    shown = [f'print("gradient of {name}:", {name}.grad)' for name in wanted]
    return ["loss.backward(upstream)", *shown]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _subject(message: str) -> str | None:
    """What the judge's messages begin with: ``the loss[0] is``, ``gradient of input is``."""
    match = re.match(r"(?:the )?(?:(loss)|gradient of (\w+))(?=\[| is | has )", message)
    return (match[1] or match[2]) if match else None


def _comparison(case: Case, finding: Finding, of: str | None) -> list[str]:
    """Lines that fail where the finding is still there, compared as the suite compares."""
    asked = [name for name, recipe in case.recipe if recipe.grad]
    of = of or _subject(finding.message)
    if finding.kind == "no gradient":
        return [f'assert {name}.grad is not None, "no gradient arrived"' for name in asked]
    tensor = {"loss": "loss", **{name: f"{name}.grad" for name in asked}}.get(of or "")
    if tensor and finding.kind == "shape" and re.fullmatch(r"\([\d, ]*\)", finding.want):
        return [f"assert tuple({tensor}.shape) == {finding.want}, tuple({tensor}.shape)"]
    want, bound = _number(finding.want), _number(finding.bound or "0")
    if tensor is None or want is None or bound is None or finding.kind == "differs":
        said = (
            ("expected: ", finding.want),
            ("came: ", finding.got),
            ("", finding.message),
        )
        return [f"# {word}{one_line(text, 500)}" for word, text in said if text]
    place = f"[{', '.join(map(str, finding.index))}]" if finding.index else ""
    what = "loss" if of == "loss" else f"gradient of {of}"
    return _compared(f"{tensor}{place}", f"{what}{place}", want, bound)


def _compared(entry: str, what: str, want: float, bound: float) -> list[str]:
    """A NaN never passes, unless it is what is expected."""
    within = f" within {bound!r}" if bound else " exactly"
    if math.isnan(want):
        right = "got != got"
    elif math.isinf(want):
        right = "got == want"
    else:
        right = "abs(got - want) <= bound"
    return [
        f"got, want, bound = {entry}.item(), {literal(want)}, {literal(bound)}",
        f'print(f"{what}: got {{got}}, expected {{want}}{within}")',
        f'assert {right}, f"{{got}} is not {{want}}{within}"',
    ]
