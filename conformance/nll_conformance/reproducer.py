"""A failing case as a program of its own: torch, the loss, a few lines, the discrepancy.

What the program computes is bit for bit what :mod:`.recipes` builds: small tensors are
literals, larger ones the recipe's own integer arithmetic, then the edits, then the layout.
"""

from __future__ import annotations

import math
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
    of: str = "loss",
    check: tuple[str, ...] = (),
    style: Style = "function",
    load: bool = False,
) -> str:
    """Runnable Python that makes the call of ``case`` and prints loss and gradients.

    ``target`` is a TARGET of the command line (``module:attr`` or ``file.py:attr``); a name
    without a colon is left for the reader to fill in.  With a ``finding`` the program ends
    by comparing the entry at its index, of the loss or of the gradient of the tensor named
    by ``of``, and fails (exit code 1) where the discrepancy is still there.  ``check``
    replaces that comparison by lines of the caller's own, for findings that are no numbers.
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
        lines += _comparison(finding, of)
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


def _comparison(finding: Finding, of: str) -> list[str]:
    """The entry that is wrong, compared as the suite compares: a NaN never passes."""
    want, bound = _number(finding.want), _number(finding.bound or "0")
    if want is None or bound is None:
        said = (("expected", finding.want), ("came", finding.got or finding.message))
        return [f"# {word}: {one_line(text, 500)}" for word, text in said if text]
    source = "loss.detach()" if of == "loss" else f"{of}.grad"
    place = f"[{', '.join(map(str, finding.index))}]" if finding.index else ""
    within = f" within {bound!r}" if bound else " exactly"
    wrong = f"{of if of == 'loss' else f'gradient of {of}'}{place}"
    if math.isnan(want):
        right = "got != got"
    elif math.isinf(want):
        right = "got == want"
    else:
        right = "abs(got - want) <= bound"
    return [
        f"got, want, bound = float({source}{place}), {literal(want)}, {literal(bound)}",
        f'print(f"{wrong}: got {{got}}, expected {{want}}{within}")',
        f'assert {right}, f"{{got}} is not {{want}}{within}"',
    ]
