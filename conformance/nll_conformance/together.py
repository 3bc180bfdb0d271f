"""Variations that combine: one option of many, or all of them at once."""

from __future__ import annotations

import math
from typing import Any

from . import elementwise
from .cases import (
    Draft,
    Draw,
    Variation,
    any_reduction,
    class_column,
    forward_only,
    laid_out,
    mixed_upstream,
    unchanged,
)
from .classification import (
    IGNORED,
    all_ignored,
    constant_target,
    hard_soft,
    ignored,
    masked,
    odd_rows,
    set_class,
    several_rows,
    smoothed,
    soft,
    soft_needs_grad,
    some_rows,
    spatial,
    unbatched,
    weighted,
)
from .discover import family_part
from .magnitudes import (
    huge_logits,
    masked_classes,
)
from .rules._families import GIVEN_LOGITS


def any_option(draft: Draft, draw: Draw) -> None:
    """One option or one shape that is not the plain call's, of those that the subject has."""
    several_rows_or_elements(draft, draw)
    draw.among(_ways(draft) or [unchanged])(draft, draw)


def any_call(draft: Draft, draw: Draw) -> None:
    """The plain call, one option, or a target that requires a gradient, too (distillation).

    For rules about how a loss is used: each way to compute it may have a path of its own.
    """
    several_rows_or_elements(draft, draw)
    learned = [learned_target] if draft.can("target_gradient") else []
    draw.among([unchanged, *_ways(draft), *learned])(draft, draw)


def several_rows_or_elements(draft: Draft, draw: Draw) -> None:
    """Several rows of few classes; of a family that has none several dimensions."""
    (several_rows if draft.classes else elementwise.several_dimensions)(draft, draw)


def _ways(draft: Draft) -> list[Variation]:
    """What may be asked beside the plain call, of what the subject has."""
    if not draft.classes:
        return [family_part(draft.context.family.name, "cases").everything]
    ways: list[tuple[str, Variation]] = [
        ("weight", weighted),
        ("ignore_minus_100", ignored()),
        ("label_smoothing", smoothed()),
        ("soft_target", soft),
        ("spatial", spatial),
        ("mask", masked),
        ("unbatched", unbatched),
        ("linear_bias", biased),
    ]
    return [way for need, way in ways if draft.can(need)]


def any_option_or_count(draft: Draft, draw: Draw) -> None:
    """One option, or as many rows as are cut into chunks or blocks."""
    if draw.integer(0, 3) < 3:
        any_option(draft, draw)
    else:
        (odd_rows if draft.classes else elementwise.odd_count)(draft, draw)


def squashed(draft: Draft, draw: Draw) -> None:
    """Logits that a softmax, or a sigmoid, gives exactly: 0 or 1."""
    facts: dict[str, Any] = {"scale": 0, "offset": 0.0, "edits": ()}
    if not draft.classes:
        draft.change("input", regime="levels", modulus=2, seed=draw.integer(0, 40), **facts)
        return
    draft.change(draft.logits, regime="constant", **facts)
    set_class(draft, (draw.integer(0, draft.classes - 1), 1.0))


def biased(draft: Draft, draw: Draw) -> None:
    """A bias, where a head is part of the loss."""
    if draft.can("linear_bias"):
        family_part(draft.context.family.name, "variations").biased(draft, draw)


def biased_rows(draft: Draft, draw: Draw) -> None:
    """Several rows, of biased logits where a head is part of the loss."""
    several_rows(draft, draw)
    biased(draft, draw)


def every_option(draft: Draft, draw: Draw) -> None:
    """All that the subject has, each more often on than off, for bugs hide where they meet."""
    shapes = [several_rows, odd_rows]
    shapes += [spatial, spatial] if draft.can("spatial") else []
    shapes += [unbatched] if draft.can("unbatched") else []
    draw.among(shapes)(draft, draw)
    most_options(draft, draw)
    any_reduction(draft, draw)
    mixed_upstream(draft, draw)
    laid_out("input", "contiguous", "transposed", "padded", "strided")(draft, draw)
    if draw.yes():
        laid_out("target", "strided", "padded", "shifted")(draft, draw)


def most_options(draft: Draft, draw: Draw) -> None:
    """What the subject has beside shapes and layouts, each more often on than off."""
    if draft.can("weight") and draw.integer(0, 3):
        weighted(draft, draw)
    if draft.can("label_smoothing") and draw.integer(0, 3):
        smoothed()(draft, draw)
    if draft.can("mask") and draw.yes():
        masked(draft, draw)
    if draft.can("soft_target") and draw.integer(0, 3) == 3:
        soft(draft, draw)
    elif draft.can("ignore_index") and draw.integer(0, 3):
        ignored(-100, -1, 255, 0)(draft, draw)


def in_images(draft: Draft, draw: Draw) -> None:
    """The same classes in every position of images, in every other case where they are taken."""
    if draft.can("spatial") and draw.yes():
        draft.resize(draw.among(((2, 3), (1, 2, 2), (2, 1), (1, 5))), draft.classes)


def where_possible(*options: tuple[str, Variation]) -> Variation:
    """Those options that the subject has, at once."""

    def give(draft: Draft, draw: Draw) -> None:
        for need, way in options:
            if draft.can(need):
                way(draft, draw)

    return give


def wide(*options: tuple[str, Variation]) -> Variation:
    """Wide rows with those options that the subject has."""

    def widen(draft: Draft, draw: Draw) -> None:
        wide_rows(draft, draw)
        where_possible(*options)(draft, draw)

    return widen


def wide_rows(draft: Draft, draw: Draw) -> None:
    """Rows wider than most blocks, most of them of a width that vectors divide."""
    classes = draw.among((264, 2056, 777, 1031, 136, 4104, 520))
    rows = draw.integer(2, 4)
    draft.resize((rows,), min(classes, draft.context.max_elements // rows))


def vocabulary_rows(draft: Draft, draw: Draw) -> None:
    """Rows of thousands of classes."""
    draft.resize((draw.integer(2, 3),), draw.among((2056, 4104, 1031)))


def wider_than_blocks(draft: Draft, draw: Draw) -> None:
    """Rows of more classes than any block has; of fewer for who can hold no more."""
    most = draft.context.max_elements // 2
    draft.resize((2,), min(most, draw.among((70_000, 33_000, 131_080, 50_257))))


def thousands_of_rows(draft: Draft, draw: Draw) -> None:
    """Rows, or positions of images, by the hundred and thousand."""
    if draft.can("spatial") and draw.yes():
        draw.among(MANY_POSITIONS)(draft, draw)
    else:
        draft.resize((draw.among((1030, 4097, 300, 2048, 8192)),), draw.among((3, 2, 5)))


def aligned_rows(draft: Draft, draw: Draw) -> None:
    """Several rows, of a width that vectors divide or do not."""
    draft.resize((draw.integer(2, 6),), draw.among((3, 8, 4, 2, 16, 5, 7, 10)))


def one_image(draft: Draft, draw: Draw) -> None:
    """A batch of one image, or one sequence."""
    sizes = draw.among(((3,), (2, 3), (1,), (2, 2, 3), (1, 4)))
    draft.resize((1, *sizes), draw.among((3, 2, 5)))


def maybe_an_option(draft: Draft, draw: Draw) -> None:
    """The call as it is, or with one option that fits any number of rows and classes."""
    ways: list[tuple[str, Variation]] = [
        ("soft_target", soft),
        ("weight", weighted),
        ("label_smoothing", smoothed()),
    ]
    draw.among([unchanged, *(way for need, way in ways if draft.can(need))])(draft, draw)


def maybe_shared_out(draft: Draft, draw: Draw) -> None:
    """In two cases of three with label smoothing or class weights, where the subject takes them."""
    ways = [("label_smoothing", smoothed()), ("weight", weighted)]
    draw.among([unchanged, *(way for need, way in ways if draft.can(need))])(draft, draw)


def every_layout(draft: Draft, draw: Draw) -> None:
    """No tensor of the call is contiguous, each in a layout of its own."""
    for name in draft.tensors:
        laid_out(name, "strided", "transposed", "padded", "shifted")(draft, draw)


def ignored_rows(draft: Draft, draw: Draw) -> None:
    """Several rows, some of them ignored where the subject can."""
    several_rows(draft, draw)
    ways = [("ignore_index", ignored(-1)), ("ignore_minus_100", ignored())]
    possible = [way for need, way in ways if draft.can(need)]
    if possible:
        draw.among(possible)(draft, draw)


def images(draft: Draft, draw: Draw) -> None:
    """(N, C, H, W) and (N, C, D, H, W), every size above one."""
    classes = draw.among((3, 2, 4))
    rows = draw.among(((2, 3, 2), (2, 2, 3, 2), (1, 2, 2), (3, 4, 3)))
    draft.resize(rows, classes)


def several_or_spatial(draft: Draft, draw: Draw) -> None:
    """Several rows, or images where the subject takes them."""
    if draft.can("spatial") and draw.yes():
        images(draft, draw)
    else:
        several_rows(draft, draw)


def certain_rows(draft: Draft, draw: Draw) -> None:
    """Some rows, of images too, are certain of their target: their loss is exactly zero."""
    several_or_spatial(draft, draw)
    spot = draw.integer(0, draft.classes - 1)
    constant_target(draft, spot)
    certain = {"nll": 0.0, "prob_nll": 1.0}.get(draft.context.family.name, 4000.0)
    for first, *others in some_rows(draft, draw):
        draft.edit("input", ((first, spot, *others), certain))


def edge_numbers(draft: Draft, draw: Draw) -> None:
    """A row that is certain of its target, and impossible classes in it or in others."""
    if draft.can("soft_target") and draw.integer(0, 3) == 3:
        hard_soft(draft, draw)
        return
    certain_rows(draft, draw)
    spot = int(draft.tensors["target"].offset)
    gone = 0.0 if draft.context.family.name == "prob_nll" else -math.inf
    others = [i for i in range(draft.classes) if i != spot]
    draft.edit("input", *class_column(draft, draw.among(others), gone))


def huge_images(draft: Draft, draw: Draw) -> None:
    """Huge logits in images, where the subject takes them."""
    huge_logits(draft, draw)
    if draft.can("spatial"):
        images(draft, draw)
        if draw.yes():  # positions enough for two vectors of any width
            draft.resize((2, 5, 7), draft.classes)


def masked_images(draft: Draft, draw: Draw) -> None:
    """A class at -inf in every position of images, where the subject takes them."""
    if not draft.can("spatial"):
        masked_classes(draft, draw)
        return
    images(draft, draw)
    gone = draw.integer(0, draft.classes - 1)
    constant_target(draft, (gone + 1) % draft.classes)
    set_class(draft, (gone, -math.inf))


def soft_of_any_shape(draft: Draft, draw: Draw) -> None:
    """Class probabilities of rows, of images, of a single sample; weighted, smoothed, or not."""
    shapes: list[tuple[str, Variation]] = [("spatial", spatial), ("unbatched", unbatched)]
    possible = [shape for need, shape in shapes if draft.can(need)]
    draw.among([several_rows, *possible, several_rows])(draft, draw)
    soft(draft, draw)
    for need, way in (("weight", weighted), ("label_smoothing", smoothed())):
        if draft.can(need) and draw.integer(0, 2) == 2:
            way(draft, draw)


def any_inputs(draft: Draft, draw: Draw) -> None:
    """One option, all of them, or class probabilities and what goes with them."""
    ways: list[Variation] = [any_option]
    if draft.classes:
        ways.append(every_option)
    if draft.can("soft_target"):
        ways.append(soft_of_any_shape)
    draw.among(ways)(draft, draw)
    # A loss that refuses channels last is told so by ``layout``.
    for name, recipe in draft.tensors.items():
        if len(recipe.shape) > 3 and recipe.layout == "transposed":
            draft.change(name, layout="contiguous")


def maybe_forward_only(draft: Draft, draw: Draw) -> None:
    """Nothing requires grad in one case of three."""
    if draw.integer(0, 2) == 2:
        forward_only(draft, draw)


def learned_target(draft: Draft, draw: Draw) -> None:
    """The target requires a gradient, too, where it can be numbers."""
    if not draft.classes:
        elementwise.with_target_grad(draft, draw)
    elif draft.can("soft_target"):
        several_rows(draft, draw)
        soft(draft, draw)
        soft_needs_grad(draft, draw)


def rare_sizes(draft: Draft, draw: Draw) -> None:
    """Rows and classes as no other rule has them, so that nothing made for them is kept."""
    draft.resize((draw.integer(11, 16),), draw.among((11, 13)))


def positions(*sizes: int) -> Variation:
    """Images of these sizes."""

    def size(draft: Draft, draw: Draw) -> None:
        draft.resize((draw.integer(1, 3), *sizes), draw.among((3, 2, 5)))

    return size


def far_images(draft: Draft, draw: Draw) -> None:
    """Images that do not begin within the first 2**15 elements of their batch."""
    most = draft.context.max_elements // (3 * 131 * 67)
    if most < 2:
        positions(33)(draft, draw)
    else:
        draft.resize((draw.integer(2, 3), 131, 67), min(5, most))


def vast_image(draft: Draft, draw: Draw) -> None:
    """An image of more positions than 16 bits count; for a slow target a smaller one."""
    sizes = draw.among(((257, 256), (65539,)))
    most = draft.context.max_elements // 2
    if math.prod(sizes) > min(most, draft.context.max_rows or most):
        sizes = (33,)
    draft.resize((1, *sizes), 2)


#: Tens to thousands of positions an image, most no multiple of a block.
MANY_POSITIONS = (
    positions(33),
    far_images,
    positions(1025),
    positions(5, 7),
    positions(36, 31),
    positions(65),
    positions(129),
    positions(3, 3, 7),
    positions(257),
)


def one_row(draft: Draft, draw: Draw) -> None:
    """A batch of one."""
    draft.resize((1,), draw.among((3, 2, 5, 7)))


def lone_ignored_row(draft: Draft, draw: Draw) -> None:
    """A batch of one, ignored by a number that counts from the end."""
    one_row(draft, draw)
    draft.options["ignore_index"] = index = draw.among((-1, -2))
    constant_target(draft, index)


def nothing_counts(draft: Draft, draw: Draw) -> None:
    """Every row is ignored: several, biased ones, with classes at -inf, or one alone."""
    ways = [several_rows, lone_ignored_row, biased_rows]
    if draft.context.family.name in GIVEN_LOGITS:
        ways.append(masked_classes)
    way = draw.among(ways)
    way(draft, draw)
    if way is not lone_ignored_row:
        all_ignored(draft, draw)


def any_inputs_or_wide(draft: Draft, draw: Draw) -> None:
    """Any inputs, rows wider than most blocks, or images and volumes of several rows."""
    ways: list[Variation] = [any_inputs, any_inputs]
    if draft.classes:
        ways.append(wide_rows)
    if draft.can("spatial"):
        ways.append(images)
    draw.among(ways)(draft, draw)


def probability_like(draft: Draft, draw: Draw) -> None:
    """Logits that are probabilities, or log-probabilities, by the look of them."""
    several_rows(draft, draw)
    kind = draw.among(("sum to one", "between zero and one", "negative"))
    if kind == "sum to one":
        draft.change(draft.logits, regime="simplex", scale=0, modulus=17)
    else:
        offset = 0.5 if kind == "between zero and one" else -math.log(draft.classes) - 0.5
        draft.change(draft.logits, scale=-4, offset=offset)


def every_digit(draft: Draft, draw: Draw) -> None:
    """Numbers that use all the bits of their dtype: no narrower one can hold them."""
    if not draft.classes:
        elementwise.several_dimensions(draft, draw)
        family_part(draft.context.family.name, "cases").everything(draft, draw)
    else:
        several_rows(draft, draw)
        biased(draft, draw)
        ways = [("weight", weighted), ("soft_target", soft), ("label_smoothing", smoothed(0.1))]
        for way in [way for need, way in ways if draft.can(need) and draw.integer(0, 2) < 2]:
            way(draft, draw)
    for name, recipe in draft.tensors.items():
        if recipe.dtype == draft.context.dtype:
            # 1/48 has as many digits as the dtype; probabilities are halved, to stay below one
            scale, offset = (1, 0.5) if name == "target" else (0, 1.0)
            draft.change(name, scale=recipe.scale - scale, offset=recipe.offset * offset + 1 / 48)
    mixed_upstream(draft, draw)
    if draft.upstream is not None:
        draft.upstream["offset"] += 1 / 48


def high_byte(draft: Draft, draw: Draw) -> None:
    """Targets in one byte without sign: above 127, or beside more classes than a byte can name.

    Not 156, which a comparison in torch finds equal to -100, nor 255 where -1 is ignored.
    """
    draft.resize((draw.integer(2, 5),), draw.among((200, 158, 256, 300, 1000)))
    draft.change("target", dtype="uint8", seed=draw.integer(0, 99))
    fixed = _ignored_of(draft)
    high: tuple[int, ...] = (155, min(draft.classes, 256) - 1, 128)
    if draft.classes > 256:  # 41 is 297 modulo 256
        high = (41, *high)
    as_byte = fixed % 256
    constant_target(draft, draw.among([index for index in high if index != as_byte]))


def byte_of_ignored(draft: Draft, draw: Draw) -> None:
    """Targets in one byte, of the class that a negative ignore_index would be there."""
    draft.resize((draw.integer(2, 5),), 256)
    draft.change("target", dtype="uint8", seed=draw.integer(0, 99))
    constant_target(draft, _ignored_of(draft) % 256)


def _ignored_of(draft: Draft) -> int:
    fixed = draft.context.fixed.get("ignore_index", IGNORED)
    return fixed if isinstance(fixed, int) else IGNORED
