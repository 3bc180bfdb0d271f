"""Losses that judge each element by itself: shapes, reductions, upstream gradients, layout."""

from __future__ import annotations

import torch

from .. import shown
from ..cases import (
    Draft,
    Draw,
    any_reduction,
    forward_only,
    laid_out,
    mixed_upstream,
    one_of,
    option,
    unreduced,
    vary,
)
from ..contract import rule
from ..discover import family_part
from ..elementwise import (
    all_laid_out,
    any_rank,
    empty,
    integer_target,
    laid_out_other,
    many,
    nan_element,
    odd_count,
    odd_rows,
    others,
    scalar_of_everything,
    several_dimensions,
    sized,
    wider_other,
)
from ..judge import agrees, identical, value_agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..refusal import right_or_raises
from ._families import ELEMENTWISE

SOURCE = "torch.nn.GaussianNLLLoss, PoissonNLLLoss, BCEWithLogitsLoss"
LAYOUT = "strides and offset are part of a tensor"
RIGHT_OR_RAISES = "a result that is returned is right (optax a77d69c4, tensorflow/models#6641)"
GRADIENT = ("gradient",)
ROWS = ("gradient", "reduction_none")


@rule(
    "must",
    cases=vary(several_dimensions, option("reduction", "none"), mixed_upstream),
    source=SOURCE + "; pytorch#53964, pytorch#17347",
    needs=("reduction_none",),
    families=ELEMENTWISE,
)
def none(case: Case, call: Caller) -> Judgement:
    """reduction="none" gives each element's loss in the input's shape, nothing summed."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_dimensions, option("reduction", "sum")),
    source=SOURCE,
    needs=("reduction_sum",),
    families=ELEMENTWISE,
)
def sum(case: Case, call: Caller) -> Judgement:
    """reduction="sum" gives the sum over all elements of every dimension, and its gradient."""
    yield from agrees(call(case))


@rule("must", cases=vary(several_dimensions), source=SOURCE, families=ELEMENTWISE)
def mean(case: Case, call: Caller) -> Judgement:
    """The mean divides by the number of elements, not by the batch or any one dimension."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(odd_count, odd_rows), any_reduction, mixed_upstream),
    source=SOURCE,
    families=ELEMENTWISE,
)
def any_count(case: Case, call: Caller) -> Judgement:
    """Every element counts once, however many there are: block edges, ragged tails."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(many, any_reduction),
    source=SOURCE,
    share=0.4,
    families=ELEMENTWISE,
)
def thousands(case: Case, call: Caller) -> Judgement:
    """Thousands of elements are reduced, and differentiated, as exactly as few."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_rank, mixed_upstream),
    source=SOURCE,
    families=ELEMENTWISE,
    share=1.5,
)
def any_dimensions(case: Case, call: Caller) -> Judgement:
    """One to five dimensions, sizes of one included, are all alike."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(scalar_of_everything, any_reduction, mixed_upstream),
    source=SOURCE + ": (*) means any number of dimensions",
    needs=("scalar_shape",),
    share=0.8,
    families=ELEMENTWISE,
)
def no_dimension(case: Case, call: Caller) -> Judgement:
    """A single number without dimensions gives its loss, under every reduction."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(empty, any_reduction),
    source="torch: the mean of no element is NaN",
    needs=("empty_batch",),
    share=0.5,
    families=ELEMENTWISE,
)
def empty_batch(case: Case, call: Caller) -> Judgement:
    """No elements: sum is 0, none is empty, mean is NaN (or 0 where declared)."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(sized((3, 4)), sized((2, 3, 2)), sized((5,))),
        laid_out("input", "transposed", "strided", "padded", "shifted", "expanded"),
        any_reduction,
        mixed_upstream,
    ),
    source=LAYOUT,
    families=ELEMENTWISE,
)
def input_layout(case: Case, call: Caller) -> Judgement:
    """The input may be transposed, a slice, every second element, unaligned, expanded."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(sized((3, 4)), sized((2, 3, 2)), sized((5,))),
        laid_out_other("transposed", "strided", "padded", "shifted", "expanded"),
        any_reduction,
        mixed_upstream,
    ),
    source=LAYOUT,
    families=ELEMENTWISE,
)
def other_layout(case: Case, call: Caller) -> Judgement:
    """So may every other tensor, each in another layout than the input."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(sized((3, 4)), sized((2, 3, 2)), sized((2, 3, 2, 2))),
        all_laid_out("transposed", "strided", "spaced"),
        option("reduction", "none"),
        mixed_upstream,
    ),
    source=LAYOUT,
    needs=("reduction_none",),
    families=ELEMENTWISE,
    share=0.5,
)
def same_layout(case: Case, call: Caller) -> Judgement:
    """All tensors may be transposed alike; losses lie where their elements do."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sized((3, 5), (2, 3)), laid_out("input", "far"), any_reduction),
    source="offsets beyond 2**31 elements (flash-attention c79de85f, onnxruntime#16363)",
    share=0.2,
    families=ELEMENTWISE,
)
def far_rows(case: Case, call: Caller) -> Judgement:
    """Rows that lie more than 2**31 elements apart are found: offsets are 64 bits wide."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(wider_other, any_reduction),
    source=RIGHT_OR_RAISES,
    share=0.5,
    families=ELEMENTWISE,
    dtypes=("float32", "bfloat16", "float16"),
    shows=shown.RIGHT_OR_RAISES,
)
def wider_dtype(case: Case, call: Caller) -> Judgement:
    """Another tensor of a wider floating dtype than the input is used exactly, or refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(integer_target, any_reduction),
    source=RIGHT_OR_RAISES,
    share=0.5,
    families=ELEMENTWISE,
    revision=2,
    shows=shown.RIGHT_OR_RAISES,
)
def integer_targets(case: Case, call: Caller) -> Judgement:
    """Whole numbers as an integer target give the same result, or are refused."""
    yield from right_or_raises(case, call)


def _everything(draft: Draft, draw: Draw) -> None:
    several_dimensions(draft, draw)
    family_part(draft.context.family.name, "cases").everything(draft, draw)
    any_reduction(draft, draw)
    mixed_upstream(draft, draw)
    laid_out("input", "contiguous", "transposed", "padded", "strided")(draft, draw)
    draft.change(draw.among(others(draft)), layout=draw.among(("contiguous", "strided")))


@rule(
    "must",
    cases=vary(_everything),
    source="every option of the call may be combined with every other",
    share=2.0,
    families=ELEMENTWISE,
)
def all_options(case: Case, call: Caller) -> Judgement:
    """All options together, on any shape and layout, give the exact loss and gradient."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(nan_element, any_reduction, forward_only),
    source="IEEE 754: NaN propagates; a diverged model must be seen",
    share=0.5,
    families=ELEMENTWISE,
)
def nan_shows(case: Case, call: Caller) -> Judgement:
    """A NaN in any tensor makes its element's loss NaN, or is refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(sized((4, 3), (6,)), unreduced),
    source="an element's loss depends on nothing but its own numbers",
    needs=("reduction_none",),
    share=0.4,
    families=ELEMENTWISE,
    shows="""
        loss = {call}.clone()
        with torch.no_grad():
            input.view(-1)[0] = torch.nan
        others, clean = {call}.flatten()[1:], loss.flatten()[1:]
        torch.testing.assert_close(others, clean, rtol=0, atol=0, equal_nan=True)
    """,
)
def neighbours(case: Case, call: Caller) -> Judgement:
    """A NaN in one element changes the loss of no other under "none"."""
    tensors = call.tensors(case)
    clean = call.forward(case, tensors).detach().clone()
    spoilt = call.tensors(case)
    with torch.no_grad():
        spoilt["input"].view(-1)[0] = torch.nan
    value = call.forward(case, spoilt)
    if value.shape == clean.shape and value.numel() > 1:
        want, got = clean.flatten()[1:], value.detach().flatten()[1:]
        yield from identical("the loss of the other elements", got, want)
    yield from value_agrees(call.observation(case, clean, {}, tensors))
