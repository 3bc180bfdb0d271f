"""Variations for families whose loss judges each element by itself: shapes and layouts.

``draft.rows`` is the shape of the unreduced loss, ``draft.classes`` means nothing.  A family
adds what its other tensors may look like in ``families/<name>/cases.py``.
"""

from __future__ import annotations

import math

from .cases import Draft, Draw, Variation
from .discover import family_part
from .recipes import TensorRecipe

Shape = tuple[int, ...]


def fit(draft: Draft) -> None:
    """Every tensor has the shape of the loss."""
    for name in draft.tensors:
        draft.change(name, shape=draft.rows)


def sized(*shapes: Shape) -> Variation:
    """One of these shapes."""

    def resize(draft: Draft, draw: Draw) -> None:
        draft.resize(draw.among(shapes))

    return resize


#: Sizes that differ in every dimension, so that a mean over the wrong one shows.
several_dimensions = sized((2, 3), (4, 3, 2), (5, 1), (1, 4), (3, 3), (2, 1, 3, 2), (1, 1))


def any_rank(draft: Draft, draw: Draw) -> None:
    """One to five dimensions, sizes of one included, each with each reduction."""
    # One draw for both, so that a few cases meet every pair.
    rank, reduction = divmod(draw.integer(0, 14), 3)
    names = ["mean"]
    names += [name for name in ("none", "sum") if draft.can(f"reduction_{name}")]
    draft.options["reduction"] = names[reduction % len(names)]
    draft.resize(tuple(draw.among((2, 1, 3)) for _ in range(rank + 1)))


def scalar_of_everything(draft: Draft, draw: Draw) -> None:
    """No dimension at all, with or without the options of the family."""
    draft.resize(())
    if draw.yes():
        family_part(draft.context.family.name, "cases").everything(draft, draw)


def empty(draft: Draft, draw: Draw) -> None:
    """No element, whichever dimension is empty."""
    draft.resize(draw.among(((0,), (0, 3), (2, 0), (2, 0, 3))))


def odd_count(draft: Draft, draw: Draw) -> None:
    """Element counts around the block sizes of kernels."""
    count = draw.among((1024, 1025, 5, 65, 16, 33, 129, 257, 8, 513, 1023))
    draft.resize((min(count, draft.context.max_elements),))


def odd_rows(draft: Draft, draw: Draw) -> None:
    """Rows and columns whose product is no multiple of a block."""
    draft.resize(draw.among(((3, 5), (7, 3), (5, 17), (3, 33), (9, 7), (2, 129))))


def many(draft: Draft, draw: Draw) -> None:
    """Thousands of elements, in one dimension or two."""
    shape = draw.among(((1030,), (300, 7), (4096,), (70001,), (1000, 70), (8193,)))
    if len(shape) > 1:
        shape = (max(1, min(shape[0], draft.context.max_elements // shape[1])), shape[1])
    else:
        shape = (min(shape[0], draft.context.max_elements),)
    draft.resize(shape)


def only_grad(*names: str) -> Variation:
    """Just one of these tensors requires a gradient."""

    def require(draft: Draft, draw: Draw) -> None:
        chosen = draw.among([name for name in names if name in draft.tensors])
        for name in draft.tensors:
            draft.change(name, grad=name == chosen)

    return require


def with_target_grad(draft: Draft, draw: Draw) -> None:
    """The target requires a gradient, too (distillation, a learned target)."""
    draft.change("target", grad=True)


def others(draft: Draft) -> list[str]:
    """The names of the tensors beside the input."""
    return [name for name in draft.tensors if name != "input"]


def laid_out_other(*layouts: str) -> Variation:
    """Any tensor but the input in another memory layout."""

    def lay_out(draft: Draft, draw: Draw) -> None:
        draft.change(draw.among(others(draft)), layout=draw.among(layouts))

    return lay_out


def all_laid_out(*layouts: str) -> Variation:
    """All tensors in the same other memory layout."""

    def lay_out(draft: Draft, draw: Draw) -> None:
        layout = draw.among(layouts)
        for name in draft.tensors:
            draft.change(name, layout=layout)

    return lay_out


def wider_other(draft: Draft, draw: Draw) -> None:
    """A tensor beside the input has a wider floating dtype."""
    wider = ("float64",) if draft.context.dtype == "float32" else ("float32", "float64")
    draft.change(draw.among(others(draft)), dtype=draw.among(wider))


def nan_element(draft: Draft, draw: Draw) -> None:
    """The first number of one tensor is NaN."""
    name = draw.among(list(draft.tensors))
    draft.edit(name, ((0,) * len(draft.tensors[name].shape), math.nan))


def integer_target(draft: Draft, draw: Draw) -> None:
    """The target holds whole numbers, as integers: counts, labels.

    A target's own ``full`` is none of it: PyTorch takes the logarithm of integers in float32.
    """
    if draft.context.fixed.get("full"):
        return
    draft.tensors["target"] = TensorRecipe(
        "levels",
        draft.rows,
        draw.among(("int64", "int32", "uint8")),
        modulus=2 if draft.context.family.name == "bce_with_logits" else 7,
        seed=draw.integer(0, 40),
    )
