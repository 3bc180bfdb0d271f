"""The plain call: a few rows of probabilities, class indices, all defaults."""

from __future__ import annotations

from ...cases import Context, Draft, Draw
from ...classification import fit as fit_classes
from ...classification import sized
from ...picked_cases import others, own_target, set_column
from ...recipes import TensorRecipe
from ..cross_entropy.cases import PROBES

__all__ = ["PROBES", "plain"]

#: Exponents of the smallest normal numbers: below them a probability may be flushed to 0.
#: Those of float16 are subnormal, which nobody flushes.
SMALLEST = {"float16": -24, "bfloat16": -126, "float32": -126, "float64": -1022}
#: log2 of half the unit roundoff: the spacing of the numbers just below 1.
JUST_BELOW_ONE = {"float16": -11, "bfloat16": -8, "float32": -24, "float64": -53}


def fit(draft: Draft) -> None:
    """Shapes as for logits; the plain probabilities sum to one for any number of classes.

    Half of each row's mass is even (1/(2C) each), half a multiple of 2**-9, so that no
    probability is 0 and none is out of proportion.
    """
    fit_classes(draft)
    if draft.tensors["input"].regime == "simplex":
        even = 0.5 / max(draft.classes, 1)
        modulus = 1 + 256 // max(draft.classes, 1)
        draft.change("input", scale=-1, offset=even, modulus=modulus)


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with rows that sum to one, every class a possible target."""
    rows, classes = draw.integer(1, 5), draw.among((3, 2, 5, 7, 10))
    draft = Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "simplex",
                (rows, classes),
                context.dtype,
                seed=draw.integer(0, 99),
                grad="gradient" in context.capabilities,
            ),
            "target": TensorRecipe(
                "levels", (rows,), "int64", modulus=classes, seed=draw.integer(0, 99)
            ),
        },
        rows=(rows,),
        fit=fit,
        classes=classes,
    )
    fit(draft)
    return draft


def dyadic(draft: Draft, draw: Draw) -> None:
    """Multiples of 2**-6 in (0, 1], each alone: rows sum to anything."""
    sized(draft, draw)
    seed = draw.integer(0, 60)
    draft.change("input", regime="levels", scale=-6, offset=2.0**-6, modulus=64, seed=seed)


def not_normalised(draft: Draft, draw: Draw) -> None:
    """Rows that sum to far less than one, or to more."""
    sized(draft, draw, classes=(3, 5, 10, 2))
    scale, seed = draw.among((-9, -6, -7, -13)), draw.integer(0, 60)
    draft.change("input", regime="levels", scale=scale, offset=2.0**scale, modulus=64, seed=seed)


def _at_target(draft: Draft, draw: Draw, value: float) -> None:
    """The target's probability is this; the others keep theirs."""
    set_column(draft, own_target(draft, draw), value)


def near_epsilon(draft: Draft, draw: Draw) -> None:
    """The target's probability is about as large as the epsilons that people add."""
    sized(draft, draw, classes=(2, 3, 5, 10))
    exponent = draw.among((-20, -24, -10, -14, -27, -33, -40, -50, -60, -100, -5))
    _at_target(draft, draw, 1.5 * 2.0 ** max(exponent, SMALLEST[draft.context.dtype] + 1))


def smallest(draft: Draft, draw: Draw) -> None:
    """The target's probability is near the smallest normal number."""
    sized(draft, draw, classes=(2, 3, 5, 10))
    bottom = SMALLEST[draft.context.dtype]
    _at_target(draft, draw, 2.0 ** (bottom + draw.among((0, 1, 2, 4, 10))))


def reciprocal_beyond_half(draft: Draft, draw: Draw) -> None:
    """The reciprocal of the target's probability is beyond float16, that over the rows is not."""
    draft.resize((draw.among((8, 5, 16)),), draw.among((3, 2)))
    _at_target(draft, draw, 1.5 * 2.0 ** -draw.among((17, 18)))


def certain(draft: Draft, draw: Draw) -> None:
    """The target has probability 1, the others nearly 0 (0 itself is another rule)."""
    sized(draft, draw, classes=(3, 2, 5, 10))
    spot = own_target(draft, draw)
    draft.change("input", regime="constant", scale=0, offset=2.0 ** draw.among((-12, -4)))
    set_column(draft, spot, 1.0)


def nearly_certain(draft: Draft, draw: Draw) -> None:
    """The target's probability is just below 1."""
    sized(draft, draw, classes=(2, 3, 5))
    low = JUST_BELOW_ONE[draft.context.dtype]
    exponent = max(low, -draw.among((4, 8, 2, 11, 6, 16, 24, 3)))
    _at_target(draft, draw, 1.0 - 2.0**exponent)


def impossible_elsewhere(draft: Draft, draw: Draw) -> None:
    """Other classes have probability 0: one, or all of them."""
    sized(draft, draw, classes=(3, 2, 5, 10, 33))
    spot = own_target(draft, draw)
    gone = others(draft, spot)
    if draw.yes():
        gone = [draw.among(gone)]
    for index in gone:
        set_column(draft, index, 0.0)
    set_column(draft, spot, draw.among((0.75, 0.5, 2.0**-6)))


def impossible_target(draft: Draft, draw: Draw) -> None:
    """The target has probability 0, in every row or in one."""
    sized(draft, draw, classes=(3, 2, 5))
    spot = own_target(draft, draw)
    if draw.yes():
        draft.edit("input", ((draw.integer(0, draft.rows[0] - 1), spot), 0.0))
    else:
        set_column(draft, spot, 0.0)
