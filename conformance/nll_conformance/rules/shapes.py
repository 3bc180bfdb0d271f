"""Every rank and size of the family's call."""

from __future__ import annotations

from ..cases import any_reduction, mixed_upstream, one_of, unchanged, unreduced, vary
from ..classification import empty, one_class, soft, spatial, square, unbatched
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..together import MANY_POSITIONS, maybe_an_option, one_image, vast_image, where_possible
from ._families import CLASSES, LOGITS

SOURCE = "torch.nn.CrossEntropyLoss: shapes"


@rule(
    "must",
    cases=vary(unbatched, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("unbatched",),
    families=CLASSES,
)
def unbatched_sample(case: Case, call: Caller) -> Judgement:
    """One sample without a batch dimension, input (C,) and target (), gives a scalar."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, any_reduction),
    source=SOURCE,
    needs=("spatial",),
    families=CLASSES,
)
def spatial_input(case: Case, call: Caller) -> Judgement:
    """Input (N, C, d1, ..., dK) with target (N, d1, ..., dK): classes stay in dim 1."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("spatial", "reduction_none", "gradient"),
    families=CLASSES,
)
def spatial_gradient(case: Case, call: Caller) -> Judgement:
    """Each position of (N, C, d1, ..., dK) is scaled by its own upstream gradient."""
    yield from agrees(call(case))


@rule("must", cases=vary(square, any_reduction), source=SOURCE, families=CLASSES)
def square_input(case: Case, call: Caller) -> Judgement:
    """As many rows as classes: the class dimension is still dim 1."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_class, maybe_an_option, any_reduction),
    source=SOURCE,
    share=0.5,
    families=LOGITS,
)
def one_class_only(case: Case, call: Caller) -> Judgement:
    """With a single class loss and gradient are zero."""
    yield Measured()  # zero is what is asked for: any other number would be outside
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(empty, maybe_an_option, any_reduction),
    source="torch.nn.CrossEntropyLoss: 0/0 is NaN; pytorch#15870",
    needs=("empty_batch",),
    share=0.8,
    families=CLASSES,
)
def empty_batch(case: Case, call: Caller) -> Judgement:
    """No rows: sum is 0, none is empty, mean is NaN (or 0 where declared)."""
    yield Measured()  # any number but the one asked for would be outside
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(*MANY_POSITIONS), any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("spatial",),
    families=CLASSES,
    share=0.8,
)
def many_positions(case: Case, call: Caller) -> Judgement:
    """Every position of a large image counts, the ragged tail too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(vast_image, any_reduction),
    source="a grid of a GPU has at most 65535 blocks in two of its dimensions",
    needs=("spatial",),
    families=CLASSES,
    count=2,
    # Sums over so many positions are beyond float16, or say nothing.
    dtypes=("float64", "float32", "bfloat16"),
)
def vast_images(case: Case, call: Caller) -> Judgement:
    """Every position of an image counts, the 65536th and later ones too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(where_possible(("soft_target", soft)), unchanged, maybe_an_option),
        one_image,
        unreduced,
        mixed_upstream,
    ),
    source=SOURCE,
    needs=("spatial",),
    families=CLASSES,
    share=0.8,
)
def single_image(case: Case, call: Caller) -> Judgement:
    """A batch of one image keeps its dimensions: (1, d1, ..., dK) losses under "none"."""
    yield from agrees(call(case))
