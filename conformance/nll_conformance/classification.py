"""Variations for families whose loss picks a class of each row: targets, weights, masks.

Where real bugs live decides the sizes: one class, two, primes, block edges, vocabularies.
Every semantic option is varied at a few classes, where the bound is tightest.
"""

from __future__ import annotations

import math

from .cases import Draft, Draw, Variation, mixed_upstream
from .recipes import TensorRecipe

#: Class counts around the block sizes of kernels.
EDGES = (16, 17, 31, 33, 64, 65, 100, 127, 129, 257, 1000, 1023, 1025, 2049, 4097)
VOCABULARIES = (151936, 32000, 50257, 128256)
IGNORED = -100


def fit(draft: Draft) -> None:
    """Shapes of the tensors of ``f(input, target, weight, mask)`` with classes in dim 1."""
    draft.change("input", shape=logits_shape(draft))
    fit_target(draft, logits_shape(draft))


def logits_shape(draft: Draft) -> tuple[int, ...]:
    """The shape of logits with classes in dim 1 (dim 0 of an unbatched vector)."""
    return (*draft.rows[:1], draft.classes, *draft.rows[1:])


def fit_target(draft: Draft, logits: tuple[int, ...]) -> None:
    """Shapes of target, weight and mask beside logits of this shape."""
    if draft.tensors["target"].dtype == "int64":
        draft.change("target", shape=draft.rows, modulus=draft.classes)
    else:
        draft.change("target", shape=logits)
    for name, shape in (("weight", (draft.classes,)), ("mask", draft.rows)):
        if name in draft.tensors:
            draft.change(name, shape=shape)


def set_class(draft: Draft, *settings: tuple[int, float]) -> None:
    """Give classes a logit each, in every row: ``(class, logit)``."""
    edits = (draft.column(draft, index, value) for index, value in settings)
    draft.edit(draft.logits, *(edit for group in edits for edit in group))


def constant_target(draft: Draft, index: int) -> None:
    """Every row's target is this class."""
    draft.change("target", regime="constant", offset=float(index), edits=())


def sized(draft: Draft, draw: Draw, *, rows: int = 4, classes: tuple[int, ...] = ()) -> None:
    """Another number of rows and classes, within the element cap."""
    count = draw.among(classes) if classes else draw.among((2, 3, 5, 7, 10))
    count = min(count, draft.context.max_elements)
    most = max(1, min(rows, draft.context.max_elements // count))
    draft.resize((draw.integer(1, most),), count)


# --- logits ------------------------------------------------------------------------------


def scattered(draft: Draft, draw: Draw) -> None:
    """Ordinary logits, few classes."""
    sized(draft, draw)
    draft.change(
        draft.logits, regime="scatter", scale=draw.integer(-3, 1), seed=draw.integer(0, 50)
    )


def few_masses(draft: Draft, draw: Draw) -> None:
    """A few classes of comparable mass, ties included: roundings cannot average out."""
    sized(draft, draw, classes=(2, 3, 5))
    regime = draw.among(("scatter", "levels"))
    draft.change(draft.logits, regime=regime, scale=0, seed=draw.integer(0, 99), modulus=3)


def heavy_class(*classes: int) -> Variation:
    """One class outweighs all others together, at an edge of the row or of a block."""

    def heavy(draft: Draft, draw: Draw) -> None:
        sized(draft, draw, rows=3, classes=classes)
        count = draft.classes
        edges = {count - 1, 0, count // 2}
        for block in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
            edges |= {i for i in (block - 1, block, count // block * block) if i < count}
        spots = sorted(edges, key=lambda i: (i != count - 1, i != 0, i))
        spot = draw.among(spots) if draw.yes() else count - 1
        draft.change(draft.logits, scale=-3, seed=draw.integer(0, 9))
        set_class(draft, (spot, math.log(count) + 2.0))
        if draw.yes():
            constant_target(draft, spot)

    return heavy


def high_target(draft: Draft, draw: Draw) -> None:
    """The target is among the last of so many classes that narrow integers cannot name it."""
    count = min(draw.among((130, 258, 2051, 32770, 65540)), draft.context.max_elements // 2)
    draft.resize((2,), count)
    draft.change(draft.logits, scale=-1, seed=draw.integer(0, 20))
    constant_target(draft, count - 1 - draw.integer(0, 1))


# --- targets, weights, masks --------------------------------------------------------------


def place(draft: Draft, flat: int) -> tuple[int, ...]:
    """The index of the row that is number ``flat`` in memory."""
    index: list[int] = []
    for size in reversed(draft.rows):
        index.append(flat % size)
        flat //= size
    return tuple(reversed(index))


def some_rows(draft: Draft, draw: Draw, least: int = 1) -> list[tuple[int, ...]]:
    """A few rows, at least one and not all where there is a choice."""
    total = math.prod(draft.rows)
    most = max(least, total - 1)
    count = draw.integer(least, min(most, 4))
    start, step = draw.integer(0, max(total - 1, 0)), draw.integer(1, 3)
    chosen = sorted({(start + step * i) % total for i in range(count)}) if total else []
    return [place(draft, flat) for flat in chosen]


def several_rows(draft: Draft, draw: Draw) -> None:
    """At least two rows (where the plain call may have one), few classes."""
    draft.resize((draw.integer(2, 6),), draw.among((3, 2, 5, 7, 10)))


def ignored(value: int = IGNORED, *others: int) -> Variation:
    """Some rows' targets are the ignore index, which is one of these values."""

    def ignore(draft: Draft, draw: Draw) -> None:
        index = draw.among((value, *others))
        draft.options["ignore_index"] = index
        rows = some_rows(draft, draw)
        if 0 <= index < draft.classes:
            return  # the targets meet it by themselves; force one row as well
        draft.edit("target", *((row, float(index)) for row in rows))

    return ignore


def ignored_class(draft: Draft, draw: Draw) -> None:
    """The ignore index is one of the classes."""
    index = draw.integer(0, draft.classes - 1)
    draft.options["ignore_index"] = index
    draft.edit("target", *((row, float(index)) for row in some_rows(draft, draw)))


def ignored_neighbour(draft: Draft, draw: Draw) -> None:
    """The ignore index is a high class; those beside it are targets, too."""
    index = draw.among((4096, 2048, 512))
    draft.resize((4,), min(index + 4, draft.context.max_elements // 4))
    index = min(index, draft.classes - 2)
    draft.options["ignore_index"] = index
    targets = (index + 1, index, index - 1, index + 1)
    draft.edit("target", *((place(draft, i), float(t)) for i, t in enumerate(targets)))


def all_ignored(draft: Draft, draw: Draw) -> None:
    """Every row is ignored."""
    draft.options["ignore_index"] = index = draw.among((IGNORED, 0, -1))
    constant_target(draft, index)


def ignored_run(draft: Draft, draw: Draw) -> None:
    """Long runs of ignored rows, as padding or prompts leave them; whole chunks of them."""
    draft.resize((draw.among((9, 17, 33, 64, 130)),), draw.among((3, 5, 10)))
    rows = math.prod(draft.rows)
    start = draw.among((0, rows // 2, rows - rows // 3))
    length = draw.among((rows // 3, rows // 2))
    draft.options["ignore_index"] = IGNORED
    spots = range(start, min(rows, start + length))
    draft.edit("target", *((place(draft, i), float(IGNORED)) for i in spots))


def ignored_thousands(draft: Draft, draw: Draw) -> None:
    """Thousands of rows, a block of them ignored: counts beyond what 16 bits can hold."""
    rows = draw.among((5000, 3001, 9000))
    classes = draw.among((3, 2))
    draft.resize((rows,), classes)
    draft.change("target", modulus=draft.classes + 1)
    draft.options["ignore_index"] = draft.classes  # a part of all rows, evenly spread


def nonfinite_ignored(draft: Draft, draw: Draw) -> None:
    """An ignored (or masked) row holds NaN or infinities."""
    bad = draw.among((math.nan, math.inf, -math.inf))
    whole = draw.yes()
    row = draw.integer(0, draft.rows[0] - 1)
    if "mask" in draft.tensors:
        draft.edit("mask", ((row,), 0.0))
    else:
        draft.options["ignore_index"] = IGNORED
        draft.edit("target", ((row,), float(IGNORED)))
    draft.edit("input", ((row, None if whole else 0), bad))


def nonfinite_upstream(draft: Draft, draw: Draw) -> None:
    """NaN or an infinity flows back to an ignored row."""
    mixed_upstream(draft, draw)
    ignore = draft.options["ignore_index"]
    row = next(index for index, value in draft.tensors["target"].edits if value == ignore)
    assert draft.upstream is not None
    draft.upstream["edits"] = ((row, draw.among((math.nan, math.inf, -math.inf))),)


def masked(draft: Draft, draw: Draw) -> None:
    """A mask leaves some rows out (at least one counts)."""
    draft.tensors["mask"] = TensorRecipe("constant", draft.rows, "bool", offset=1.0)
    draft.edit("mask", *((row, 0.0) for row in some_rows(draft, draw)))


def all_masked(draft: Draft, draw: Draw) -> None:
    """The mask leaves every row out."""
    draft.tensors["mask"] = TensorRecipe("constant", draft.rows, "bool")


def weighted(draft: Draft, draw: Draw) -> None:
    """Class weights that differ: multiples of 1/8 from 1/8 to 2, or with all their bits."""
    draft.tensors["weight"] = TensorRecipe(
        "levels",
        (draft.classes,),
        draft.context.dtype,
        scale=-3,
        offset=0.125,
        modulus=16,
        seed=draw.integer(0, 40),
    )
    if draw.yes():
        # 1.1 has as many digits as the dtype, where 1.125 has three
        draft.change("weight", regime="scatter", scale=-2, offset=1.1)


def mostly_ones(draft: Draft, draw: Draw) -> None:
    """All weights are one but that of a class in the middle."""
    weighted(draft, draw)
    draft.change("weight", regime="constant", scale=0, offset=1.0)
    draft.edit("weight", ((draft.classes // 2,), draw.among((2.0, 0.25))))


def spread_weights(draft: Draft, draw: Draw) -> None:
    """Weights many orders of magnitude apart, as inverse frequencies are, or all tiny."""
    weighted(draft, draw)
    tiny = -6 if draft.context.dtype == "float16" else -40
    common = draw.among((0, tiny))
    for index in range(draft.classes):
        draft.edit("weight", ((index,), 2.0 ** (draw.integer(-8, 6) + common)))


def heavy_weights(draft: Draft, draw: Draw) -> None:
    """Weights from 6 to 8."""
    weighted(draft, draw)
    draft.change("weight", regime="levels", scale=-3, modulus=16, offset=6.0)


def losses_beyond_half(draft: Draft, draw: Draw) -> None:
    """Class weights and losses whose product is beyond float16, unlike their mean."""
    several_rows(draft, draw)
    spot = draw.integer(0, draft.classes - 1)
    constant_target(draft, spot)
    set_class(draft, (spot, draw.among((-20.0, -28.0))))
    weighted(draft, draw)
    draft.change("weight", regime="levels", scale=9, modulus=4, offset=2.0**12)


def zero_weight(draft: Draft, draw: Draw) -> None:
    """One class has weight zero."""
    weighted(draft, draw)
    draft.edit("weight", ((draw.integer(0, draft.classes - 1),), 0.0))


def no_weight(draft: Draft, draw: Draw) -> None:
    """The weights of the targets are zero, and maybe all others."""
    weighted(draft, draw)
    if draw.yes():
        draft.change("weight", regime="constant", offset=0.0)
        return
    scored = draw.integer(0, draft.classes - 1)
    constant_target(draft, scored)
    draft.edit("weight", ((scored,), 0.0))


def negative_weight(draft: Draft, draw: Draw) -> None:
    """All weights are negative: the mean is still a quotient of sums."""
    weighted(draft, draw)
    draft.change("weight", offset=-2.25)


def smoothed(*values: float) -> Variation:
    """Label smoothing of one of these amounts."""

    def smooth(draft: Draft, draw: Draw) -> None:
        draft.options["label_smoothing"] = draw.among(values or (0.1, 0.3, 0.5, 0.9))

    return smooth


def soft(draft: Draft, draw: Draw) -> None:
    """The targets are class probabilities: multiples of 1/256 that sum to one."""
    draft.tensors["target"] = TensorRecipe(
        "simplex",
        logits_shape(draft),
        draft.context.dtype,
        # The shares of the other classes must leave something of 256/256 to the first.
        modulus=min(draw.among((8, 2, 5)), 256 // max(draft.classes - 1, 1) + 1),
        seed=draw.integer(0, 40),
    )


def unnormalised(draft: Draft, draw: Draw) -> None:
    """Class probabilities that do not sum to one (PyTorch does not require it)."""
    soft(draft, draw)
    draft.change("target", regime="levels", scale=-3, modulus=8, offset=draw.among((0.0, 0.125)))
    if draw.yes() and draft.rows:  # a row without any probability still counts in the mean
        draft.edit("target", ((draw.integer(0, draft.rows[0] - 1), None), 0.0))


def hard_soft(draft: Draft, draw: Draw) -> None:
    """Class probabilities that are one-hot."""
    soft(draft, draw)
    draft.change("target", regime="constant")
    axis, spot = draft.tensors["target"].class_axis, draw.integer(0, draft.classes - 1)
    draft.edit("target", ((*(None,) * axis, spot), 1.0))


def soft_needs_grad(draft: Draft, draw: Draw) -> None:
    """The class probabilities require a gradient, too (distillation)."""
    draft.change("target", grad=True)


def only_soft_needs_grad(draft: Draft, draw: Draw) -> None:
    """The class probabilities alone require a gradient."""
    draft.change("target", grad=True)
    draft.change("input", grad=False)


# --- shapes -------------------------------------------------------------------------------


def unbatched(draft: Draft, draw: Draw) -> None:
    """One sample without a batch dimension: input (C,), target ()."""
    classes = draw.among((3, 2, 5, 10, 1))
    draft.resize((), classes)


def spatial(draft: Draft, draw: Draw) -> None:
    """(N, C, d1, ..., dK), also where a spatial size equals the classes or the batch."""
    classes = draw.among((3, 2, 4, 5))
    batch = draw.among((2, 1, 3, classes))
    sizes = [draw.among((4, 3, 1, 2, classes, batch)) for _ in range(draw.among((1, 2, 3, 4)))]
    draft.resize((batch, *sizes), classes)


def square(draft: Draft, draw: Draw) -> None:
    """As many rows as classes: nothing can be told by size."""
    count = draw.among((3, 2, 5, 8))
    draft.resize((count,), count)


def empty(draft: Draft, draw: Draw) -> None:
    """No rows at all."""
    rows: tuple[int, ...] = (0,)
    if draft.can("spatial") and draw.yes():
        rows = draw.among(((2, 0), (0, 3), (2, 0, 3)))
    draft.resize(rows, draw.among((3, 1, 5)))


def one_class(draft: Draft, draw: Draw) -> None:
    """C = 1: the loss is zero and so is its gradient."""
    draft.resize((draw.integer(1, 4),), 1)


def many_rows(draft: Draft, draw: Draw) -> None:
    """Thousands of rows: chunked kernels, 16-bit reductions, grid limits."""
    draft.resize((draw.among((1030, 70000, 300, 8192, 4097)),), draw.among((3, 2, 5)))


def dear_rows(draft: Draft, draw: Draw) -> None:
    """Hundreds of rows whose losses add up to more than float16 holds; their mean does not."""
    draft.resize((draw.among((600, 513)),), draw.among((3, 2)))
    draft.change(draft.logits, scale=-2)
    set_class(draft, (1, -300.0))
    constant_target(draft, 1)


def odd_rows(draft: Draft, draw: Draw) -> None:
    """Row counts around the chunk sizes of chunked losses."""
    draft.resize((draw.among((5, 9, 17, 33, 65, 129, 257, 8, 16, 513)),), draw.among((3, 5, 10)))


def full_blocks(draft: Draft, draw: Draw) -> None:
    """Rows that fill blocks of any usual size exactly, or leave one row, or lack one."""
    draft.resize((draw.among((4097, 4096, 64, 1025, 2048, 128, 4095)),), draw.among((2, 3)))


def thin_soft(draft: Draft, draw: Draw) -> None:
    """Each of many classes has the same share, far below one in a thousand."""
    rows, classes = draw.integer(2, 4), draw.among((4096, 2048, 8192))
    draft.resize((rows,), min(classes, draft.context.max_elements // rows))
    soft(draft, draw)
    draft.change("target", regime="constant", offset=1.0 / draft.classes)


def fine_soft(draft: Draft, draw: Draw) -> None:
    """Class probabilities that use all the bits of their dtype (and need not sum to one)."""
    soft(draft, draw)
    draft.change("target", regime="scatter", scale=-5, offset=0.3)
