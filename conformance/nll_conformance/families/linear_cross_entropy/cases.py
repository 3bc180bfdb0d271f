"""The plain call: a few rows of short hidden states, a small head, all defaults.

Hidden states are multiples of 1/4 in [-1, 1] and the first of each row is 1, so that the
first column of the head shifts a class's logit in every row alike, and products of few
bits keep the logits, and with them the bounds, exact.
"""

from __future__ import annotations

from ...cases import Context, Draft, Draw
from ...classification import fit_target, logits_shape
from ...recipes import Edit, TensorRecipe
from ..cross_entropy import cases as cross_entropy

#: Sizes H of the hidden states.
HIDDEN = (3, 2, 4, 5, 8, 64)

#: How the divergences show: as cross entropy's.
PROBES = cross_entropy.PROBES


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, linear_weight, target)`` with every class as a possible target."""
    seed, grad = draw.integer(0, 99), "gradient" in context.capabilities
    rows, classes = draw.integer(1, 5), draw.among((3, 2, 5, 7, 10))
    size, dtype = draw.among(HIDDEN), context.dtype
    hidden = TensorRecipe(
        "levels", (rows, size), dtype, scale=-2, offset=-1.0, modulus=9, seed=seed, grad=grad
    )
    draft = Draft(
        context=context,
        tensors={
            "input": hidden,
            "linear_weight": TensorRecipe(
                "scatter", (classes, size), dtype, scale=-1, seed=seed, grad=grad, axis=0
            ),
            "target": TensorRecipe("levels", (rows,), "int64", seed=draw.integer(0, 99)),
        },
        rows=(rows,),
        fit=fit,
        classes=classes,
        logits="linear_weight",
        column=column,
    )
    fit(draft)
    return draft


def fit(draft: Draft) -> None:
    """Shapes of all tensors; H shrinks where rows or classes are many."""
    count = max(draft.classes, *draft.rows, 1)
    most = max(2, draft.context.max_elements // count)
    resize_hidden(draft, min(draft.tensors["input"].shape[-1], most))


def resize_hidden(draft: Draft, size: int) -> None:
    """Hidden states of ``size`` entries, the first of them 1, and a head to match."""
    first: Edit = ((*(None,) * len(draft.rows), 0), 1.0)
    draft.change("input", shape=(*draft.rows, size), edits=(first,))
    draft.change("linear_weight", shape=(draft.classes, size))
    fit_target(draft, logits_shape(draft))
    if "linear_bias" in draft.tensors:
        draft.change("linear_bias", shape=(draft.classes,))


def enlarge(draft: Draft, shape: tuple[int, ...]) -> None:
    """``(N, H, C)`` of a benchmark; the head shrinks with H so that logits keep their size."""
    rows, size, classes = shape
    draft.resize((rows,), classes)
    resize_hidden(draft, size)
    draft.change("linear_weight", scale=-max(1, size.bit_length() // 2))


def column(draft: Draft, index: int, value: float) -> tuple[Edit, ...]:
    """The head's row that gives class ``index`` the logit ``value`` in every row."""
    return ((index, None), 0.0), ((index, 0), value)
