"""What the rules of the family vary: bias, width of the hidden states, who needs a gradient."""

from __future__ import annotations

import math

from ...cases import Draft, Draw, Variation, laid_out, one_of
from ...classification import constant_target, ignored, several_rows, smoothed, unbatched, weighted
from ...recipes import TensorRecipe
from .cases import resize_hidden

#: H at and around the blocks of kernels.
WIDTHS = (64, 129, 33, 257, 128, 1000, 65, 1)


def biased(draft: Draft, draw: Draw) -> None:
    """A bias that differs from class to class, of both signs."""
    draft.tensors["linear_bias"] = TensorRecipe(
        "scatter",
        (draft.classes,),
        draft.context.dtype,
        scale=-1,
        seed=draw.integer(0, 40),
        grad=draft.can("gradient"),
    )


def maybe_biased(draft: Draft, draw: Draw) -> None:
    """A bias in one case of two, where the call takes one."""
    if draft.can("linear_bias") and draw.yes():
        biased(draft, draw)


def maybe_smoothed(draft: Draft, draw: Draw) -> None:
    """Smoothed in one case of two, where the call takes it."""
    if draft.can("label_smoothing") and draw.yes():
        smoothed()(draft, draw)


def rows_or_one(draft: Draft, draw: Draw) -> None:
    """Several rows, or a single one without a batch dimension where the call takes it."""
    if draft.can("unbatched") and draw.integer(0, 3) == 3:
        unbatched(draft, draw)
    else:
        several_rows(draft, draw)


def huge_bias(draft: Draft, draw: Draw) -> None:
    """A bias that outweighs the product: a common offset, or one class far above."""
    biased(draft, draw)
    offset = draw.among((1000.0, -1000.0, 64.0, 30000.0))
    if draw.yes():
        draft.change("linear_bias", offset=offset)
    else:
        draft.edit("linear_bias", ((draw.integer(0, draft.classes - 1),), offset))


def excluding_bias(draft: Draft, draw: Draw) -> None:
    """Classes that a bias of -inf takes out; no target is among them."""
    if draw.integer(0, 2) == 2:  # whole blocks of any kernel
        draft.resize(draft.rows, draw.among((300, 1030, 2100)))
        biased(draft, draw)
        constant_target(draft, draft.classes - 3)
        draft.edit("linear_bias", (((0, draft.classes - 7),), -math.inf))
        return
    biased(draft, draw)
    keep = draw.integer(0, draft.classes - 1)
    constant_target(draft, keep)
    gone = [i for i in range(draft.classes) if i != keep]
    gone = gone[: draw.integer(1, len(gone))]
    draft.edit("linear_bias", *(((i,), -math.inf) for i in gone))


def wide(draft: Draft, draw: Draw) -> None:
    """Hidden states of many entries, or of one; logits of ordinary size."""
    width = draw.among(WIDTHS)
    resize_hidden(draft, width)
    draft.change("linear_weight", scale=-3 if width > 8 else -1)


def many_rows_few_entries(draft: Draft, draw: Draw) -> None:
    """Far more rows than a chunk has; hidden states and head are small beside the logits."""
    classes = 24
    rows = min(draw.among((9001, 12000, 10240)), draft.context.max_elements // classes)
    draft.resize((rows,), classes)
    resize_hidden(draft, 2)


def cube(draft: Draft, draw: Draw) -> None:
    """As many rows as classes as entries of a hidden state."""
    count = draw.among((3, 2, 5, 8))
    draft.resize((count,), count)
    resize_hidden(draft, count)


def frozen(*names: str) -> Variation:
    """These tensors require no gradient."""

    def freeze(draft: Draft, draw: Draw) -> None:
        for name in names:
            if name in draft.tensors:
                draft.change(name, grad=False)

    return freeze


def same_sign(draft: Draft, draw: Draw) -> None:
    """Every row adds the same sign to the head's gradient: a 16-bit sum stops growing."""
    rows = draw.among((300, 1030, 520, 3000))
    draft.resize((rows,), draw.among((3, 2, 5)))
    draft.change("input", regime="constant", offset=1.0)
    constant_target(draft, draw.integer(0, draft.classes - 1))
    draft.options["reduction"] = "sum" if draft.can("reduction_sum") else "mean"


def other_dtype(draft: Draft, draw: Draw) -> None:
    """Head and bias in a wider dtype, of few bits, so that no cast loses anything."""
    wider = "float64" if draft.context.dtype == "float32" else "float32"
    few_bits(draft, draw)
    for name in ("linear_weight", "linear_bias"):
        if name in draft.tensors:
            draft.change(name, dtype=wider)


def few_bits(draft: Draft, draw: Draw) -> None:
    """Head and bias of few bits, so that casting them to 16 bits loses nothing."""
    maybe_biased(draft, draw)
    for name in ("linear_weight", "linear_bias"):
        if name in draft.tensors:
            draft.change(name, regime="levels", scale=-2, offset=-1.0, modulus=9)


def wrong_width(draft: Draft, draw: Draw) -> None:
    """A head for hidden states of another size."""
    size = draft.tensors["input"].shape[-1]
    draft.change("linear_weight", shape=(draft.classes, size + draw.among((1, -1, 2))))


def wrong_bias(draft: Draft, draw: Draw) -> None:
    """A bias of another size than the head's classes, one that broadcasts among them."""
    biased(draft, draw)
    sizes = [n for n in (1, draft.classes + 1, draft.classes - 1) if n != draft.classes and n]
    draft.change("linear_bias", shape=(draw.among(sizes),))


def wrong_size(draft: Draft, draw: Draw) -> None:
    """A head of the wrong width or, where there is one, a bias of the wrong size."""
    if draft.can("linear_bias") and draw.yes():
        wrong_bias(draft, draw)
    else:
        wrong_width(draft, draw)


def all_options(draft: Draft, draw: Draw) -> None:
    """Bias, weights, ignored rows and smoothing together, as far as the call takes them."""
    options: dict[str, Variation] = {
        "linear_bias": biased,
        "weight": weighted,
        "ignore_index": ignored(-100, -1, 255),
        "label_smoothing": smoothed(),
    }
    for capability, variation in options.items():
        if draft.can(capability):
            variation(draft, draw)


#: Head and bias as views of other memory: tied and sliced embeddings.
head_layouts = one_of(
    laid_out("linear_weight", "transposed", "padded", "strided", "shifted", "expanded"),
    laid_out("linear_bias", "strided", "shifted", "expanded", "padded"),
)
