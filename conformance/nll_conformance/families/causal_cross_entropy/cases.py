"""The plain call: two short rows of ordinary logits, labels of the same length."""

from __future__ import annotations

from ...cases import Context, Draft, Draw
from ...recipes import TensorRecipe
from ..cross_entropy import cases as cross_entropy

#: How the divergences show: as cross entropy's.
PROBES = cross_entropy.PROBES


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with scattered logits and every class as a possible label."""
    seed = draw.integer(0, 99)
    rows, classes = (draw.integer(1, 3), draw.integer(2, 5)), draw.among((3, 2, 5, 7, 10))
    grad = "gradient" in context.capabilities
    draft = Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "scatter", (*rows, classes), context.dtype, scale=-1, seed=seed, grad=grad, axis=2
            ),
            "target": TensorRecipe("levels", rows, "int64", seed=draw.integer(0, 99)),
        },
        rows=rows,
        fit=fit,
        classes=classes,
    )
    fit(draft)
    return draft


def fit(draft: Draft) -> None:
    """Logits ``(B, T, V)`` and labels ``(B, T)``.

    A variation that asks for n rows gets about n scored positions, in two sequences where
    that fits the cap, so that every shared variation also crosses a row's end.
    """
    if len(draft.rows) == 1:
        draft.rows = _sequences(draft.rows[0], draft)
    draft.change("input", shape=(*draft.rows, draft.classes))
    draft.change("target", shape=draft.rows, modulus=draft.classes)


def _sequences(count: int, draft: Draft) -> tuple[int, int]:
    """``(B, T)`` with about ``count`` scored positions."""
    if count == 0:
        return 0, 3
    if count == 1:
        return 1, 2
    two, cap = (2, count // 2 + 1), draft.context.max_elements
    if two[0] * two[1] * draft.classes <= cap:
        return two
    return 1, max(2, min(count + 1, cap // draft.classes))
