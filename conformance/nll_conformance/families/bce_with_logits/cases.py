"""The plain BCE call, logits of any size, and the shapes of its weights."""

from __future__ import annotations

from ...cases import MAX_FINITE, Context, Draft, Draw, Variation
from ...elementwise import fit
from ...recipes import TensorRecipe

#: An input shape and the shapes that a weight may have beside it, the confusable ones first.
WEIGHT_SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((3, 3), (3,)),
    ((4, 2), (2,)),
    ((3, 3), (3, 1)),
    ((2, 2, 2), (2,)),
    ((4, 2), (4, 2)),
    ((2, 3, 2), (3, 1)),
    ((3, 2), (1,)),
    ((2, 3, 2, 2), (3, 1, 1)),
    ((3, 2), ()),
    ((5,), (5,)),
)


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with ordinary logits and labels 0 and 1."""
    rows = (draw.integer(1, 4), draw.among((3, 1, 2, 5)))
    return Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "scatter",
                rows,
                context.dtype,
                seed=draw.integer(0, 99),
                grad="gradient" in context.capabilities,
            ),
            "target": TensorRecipe(
                "levels", rows, context.dtype, modulus=2, seed=draw.integer(0, 99)
            ),
        },
        rows=rows,
        fit=fit,
    )


def everything(draft: Draft, draw: Draw) -> None:
    """Soft labels, both weights, a gradient of the target."""
    if draw.yes():
        soft(draft, draw)
    shapes = [(), draft.rows, draft.rows[-1:]]
    for name in ("weight", "pos_weight"):
        if draft.can(name) and draw.yes():
            _add(draft, draw, name, draw.among(shapes))
    if draw.yes() and draft.can("target_gradient"):
        draft.change("target", grad=True)


def soft(draft: Draft, draw: Draw) -> None:
    """Labels between 0 and 1, both included."""
    draft.change("target", scale=-3, modulus=9)


def beyond_one(draft: Draft, draw: Draw) -> None:
    """Labels on both sides of 0 and 1."""
    draft.change("target", scale=-2, modulus=13, offset=-1.0)


def labels(value: float) -> Variation:
    """Every label is this one."""

    def set_labels(draft: Draft, draw: Draw) -> None:
        draft.change("target", regime="constant", scale=0, offset=value)

    return set_labels


def apart(*gaps: float, right: bool) -> Variation:
    """Logits of these magnitudes, on the right or on the wrong side for the label."""

    def move(draft: Draft, draw: Draw) -> None:
        label, gap = draw.integer(0, 1), draw.among(gaps)
        gap = min(gap, MAX_FINITE[draft.context.dtype] / 8)
        sign = 1.0 if (label == 1) == right else -1.0
        draft.change("input", scale=-3, offset=sign * gap)
        labels(float(label))(draft, draw)

    return move


def zero_logits(draft: Draft, draw: Draw) -> None:
    """Logits exactly zero (a zero-initialised head), of either sign, among others."""
    if draw.yes():
        draft.change("input", regime="constant", offset=draw.among((0.0, -0.0)))
    else:
        draft.change("input", regime="levels", scale=0, modulus=3, offset=-1.0)


def tiny_logits(draft: Draft, draw: Draw) -> None:
    """Logits down to subnormal numbers: both labels are equally likely."""
    draft.change("input", scale=draw.among((-10, -14, -24, -130)))


def _add(draft: Draft, draw: Draw, name: str, shape: tuple[int, ...]) -> None:
    draft.tensors[name] = TensorRecipe(
        "levels",
        shape,
        draft.context.dtype,
        scale=-3,
        offset=0.125,
        modulus=24,
        seed=draw.integer(0, 40),
    )


def weighted(name: str, *shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Variation:
    """A weight (or pos_weight) of a shape that broadcasts to the input's, 1/8 to 3."""

    def weigh(draft: Draft, draw: Draw) -> None:
        rows, shape = draw.among(shapes or WEIGHT_SHAPES)
        draft.resize(rows)
        _add(draft, draw, name, shape)

    return weigh


def weighing(name: str, value: float) -> Variation:
    """One entry of a weight has this value."""

    def set_weight(draft: Draft, draw: Draw) -> None:
        shape = draft.tensors[name].shape
        draft.edit(name, (tuple(draw.integer(0, size - 1) for size in shape), value))

    return set_weight


def both_weights(draft: Draft, draw: Draw) -> None:
    """A weight for each element and a pos_weight for each column."""
    weighted("weight", ((3, 2), (3, 2)), ((3, 3), (3,)), ((2, 3), (2, 1)))(draft, draw)
    _add(draft, draw, "pos_weight", draft.rows[-1:])


def wrong_target_shape(draft: Draft, draw: Draw) -> None:
    """A target whose shape only broadcasting would make fit."""
    rows, target = draw.among((((4,), (4, 1)), ((4, 1), (4,)), ((3, 2), (2,)), ((3, 2), (1, 2))))
    draft.resize(rows)
    draft.change("target", shape=target)
