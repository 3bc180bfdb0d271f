"""The lines with which a reproducer fails while the finding is still there."""

from __future__ import annotations

import math
import re

from .model import Case, Finding
from .render.text import one_line
from .reproducer_tensors import literal


def comparison(case: Case, finding: Finding, shows: str = "") -> list[str]:
    """Compare the entry that the finding speaks of as the suite compares it.

    What is no number is said in comments; where it can be checked, ``shows`` checks it.
    """
    asked = [name for name, recipe in case.recipe if recipe.grad]
    if finding.kind == "no gradient":
        return [f'assert {name}.grad is not None, "no gradient arrived"' for name in asked]
    variable = re.sub(r"\W+", "_", finding.of)
    own = {variable: variable} if variable in shows else {}
    tensor = {**own, "loss": "loss", **{name: f"{name}.grad" for name in asked}}.get(variable)
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
    what = f"gradient of {finding.of}" if tensor.endswith(".grad") else finding.of
    return _compared(f"{tensor}{place}", f"{what}{place}", want, bound)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


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
