"""Everything at once, after every rule that varies one thing."""

from __future__ import annotations

from ..cases import any_reduction, mixed_upstream, one_of, vary
from ..classification import heavy_class, ignored, masked, smoothed, soft, weighted
from ..contract import rule
from ..judge import agrees
from ..magnitudes import (
    COMMON_OFFSETS,
    block_maximum,
    confident_target,
    far_below,
    huge_logits,
    masked_classes,
    ramped,
    wrong_target,
)
from ..model import Case, Judgement
from ..observe import Caller
from ..together import (
    every_option,
    in_images,
    most_options,
    thousands_of_rows,
    where_possible,
    wide,
    wider_than_blocks,
)
from ._families import CLASSES, GIVEN_LOGITS, LOGITS

WEIGHTED = ("weight", weighted)
SMOOTHED = ("label_smoothing", smoothed())
SOFT = ("soft_target", soft)
IGNORED = ("ignore_minus_100", ignored())
MASKED = ("mask", masked)


@rule(
    "must",
    cases=vary(every_option),
    source="every option of the call may be combined with every other",
    families=CLASSES,
    share=3.0,
)
def all_options(case: Case, call: Caller) -> Judgement:
    """All options together, on any shape and layout, give the exact loss and gradient."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            wide(WEIGHTED, SMOOTHED),
            wide(SOFT, SMOOTHED),
            wide(IGNORED, WEIGHTED),
            wide(SOFT, WEIGHTED, SMOOTHED),
            wide(IGNORED, SMOOTHED),
            wide(IGNORED, WEIGHTED, SMOOTHED),
        ),
        any_reduction,
        mixed_upstream,
    ),
    source="kernels treat rows wider than a block by another path",
    families=CLASSES,
    share=1.5,
)
def wide_rows(case: Case, call: Caller) -> Judgement:
    """Options mean in rows of hundreds of classes what they mean in narrow ones."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            wrong_target,
            huge_logits,
            heavy_class(10, 129, 1025),
            one_of(*COMMON_OFFSETS),
            confident_target,
            far_below,
            block_maximum,
            ramped,
        ),
        in_images,
        most_options,
        any_reduction,
        mixed_upstream,
    ),
    source="each option may have a path of its own, and each path be unstable",
    families=LOGITS,
    share=1.5,
)
def extreme_logits(case: Case, call: Caller) -> Judgement:
    """Under every option the loss is as stable as without, in the gradient as well."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        masked_classes,
        in_images,
        one_of(
            where_possible(WEIGHTED),
            where_possible(IGNORED),
            where_possible(IGNORED, WEIGHTED),
            where_possible(MASKED),
        ),
        any_reduction,
        mixed_upstream,
    ),
    source="each option may have a path of its own, and compute 0 * inf in it",
    families=GIVEN_LOGITS,
    share=0.6,
)
def impossible_classes(case: Case, call: Caller) -> Judgement:
    """Classes at -inf have probability and gradient 0 beside weights and ignored rows, too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        wider_than_blocks,
        one_of(
            where_possible(SMOOTHED),
            where_possible(SOFT),
            where_possible(IGNORED),
            where_possible(WEIGHTED, SMOOTHED),
            where_possible(IGNORED, WEIGHTED),
            where_possible(SOFT, WEIGHTED),
        ),
        any_reduction,
        mixed_upstream,
    ),
    source="kernels treat a vocabulary block by block, each option in a sum of its own",
    families=CLASSES,
    share=0.5,
)
def vocabularies(case: Case, call: Caller) -> Judgement:
    """Options mean in rows of a language model's vocabulary what they mean in narrow ones."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(thousands_of_rows, most_options, any_reduction, mixed_upstream),
    source="losses treat many rows chunk by chunk, and each chunk's options",
    families=CLASSES,
    share=0.5,
)
def many_rows(case: Case, call: Caller) -> Judgement:
    """Options mean for thousands of rows, or of positions, what they mean for a few."""
    yield from agrees(call(case))
