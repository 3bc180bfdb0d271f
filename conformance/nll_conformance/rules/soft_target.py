"""Targets that are class probabilities."""

from __future__ import annotations

from .. import shown
from ..cases import any_reduction, laid_out, mixed_upstream, option, scalar_upstream, vary
from ..classification import (
    fine_soft,
    hard_soft,
    only_soft_needs_grad,
    several_rows,
    smoothed,
    soft,
    soft_needs_grad,
    spatial,
    square,
    thin_soft,
    unbatched,
    unnormalised,
    weighted,
)
from ..contract import rule
from ..judge import agrees
from ..magnitudes import (
    huge_logits,
    masked_classes,
)
from ..model import Case, Judgement
from ..observe import Caller
from ..refusal import right_or_raises
from ..together import (
    soft_of_any_shape,
)
from ._families import CLASSES, GIVEN_LOGITS

SOURCE = "torch.nn.CrossEntropyLoss: target containing class probabilities"
SOFT = ("soft_target",)


@rule(
    "must",
    cases=vary(several_rows, soft, any_reduction),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
)
def rows(case: Case, call: Caller) -> Judgement:
    """The loss is -sum_j q_j log p_j; mean divides by the rows."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(thin_soft, any_reduction),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
    share=0.3,
)
def thin(case: Case, call: Caller) -> Judgement:
    """Shares of thousands of classes count, however small each of them is."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("soft_target", "gradient"),
    families=CLASSES,
)
def gradient(case: Case, call: Caller) -> Judgement:
    """The gradient is p sum(q) - q, scaled by what flows back."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, hard_soft, any_reduction),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
    share=0.5,
)
def one_hot(case: Case, call: Caller) -> Judgement:
    """One-hot probabilities give the loss of that class."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(square, soft, any_reduction),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
    share=0.5,
)
def square_input(case: Case, call: Caller) -> Judgement:
    """Classes stay in dim 1, also where rows and classes are as many."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, weighted, any_reduction),
    source="torch.nn.CrossEntropyLoss: with probabilities mean divides by N (pytorch#107680)",
    needs=("soft_target", "weight"),
    families=CLASSES,
)
def with_weight(case: Case, call: Caller) -> Judgement:
    """Weights multiply each class's term; the mean still divides by the number of rows."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, smoothed(0.1, 0.5, 1.0), any_reduction),
    source=SOURCE,
    needs=("soft_target", "label_smoothing"),
    families=CLASSES,
)
def with_smoothing(case: Case, call: Caller) -> Judgement:
    """Smoothing mixes the probabilities with 1 / C."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, weighted, smoothed(), any_reduction),
    source=SOURCE,
    needs=("soft_target", "label_smoothing", "weight"),
    families=CLASSES,
    share=0.6,
)
def with_weight_and_smoothing(case: Case, call: Caller) -> Judgement:
    """Weights and smoothing apply together, each class by its own weight."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(spatial, soft, any_reduction),
    source=SOURCE,
    needs=("soft_target", "spatial"),
    families=CLASSES,
)
def spatial_rows(case: Case, call: Caller) -> Judgement:
    """Probabilities of (N, C, d1, ...) have the input's shape; mean divides by all positions."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(unbatched, soft, any_reduction),
    source=SOURCE,
    needs=("soft_target", "unbatched"),
    families=CLASSES,
    share=0.4,
)
def unbatched_row(case: Case, call: Caller) -> Judgement:
    """A single sample has probabilities of shape (C,)."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, unnormalised, any_reduction),
    source="the formula; probabilities need not sum to one (NeMo Automodel#2428)",
    needs=SOFT,
    families=CLASSES,
)
def any_total(case: Case, call: Caller) -> Judgement:
    """Rows that do not sum to one follow the same formula, in the gradient p sum(q) - q too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(soft_of_any_shape, soft_needs_grad, any_reduction, scalar_upstream),
    source="torch.nn.functional.cross_entropy: gradient of the probabilities (distillation)",
    needs=("soft_target", "gradient", "target_gradient"),
    families=CLASSES,
)
def target_gradient(case: Case, call: Caller) -> Judgement:
    """Probabilities that require a gradient get -log p, not silence."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(huge_logits, soft),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
    share=0.6,
)
def huge(case: Case, call: Caller) -> Judgement:
    """Large logits leave the loss finite."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        several_rows, soft, laid_out("target", "transposed", "strided", "padded", "expanded")
    ),
    source="strides are part of a tensor",
    needs=SOFT,
    families=CLASSES,
    share=0.6,
)
def strided(case: Case, call: Caller) -> Judgement:
    """Probabilities are read by their strides."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(masked_classes, hard_soft),
    source="0 log 0 = 0; PyTorch gives NaN",
    needs=SOFT,
    families=GIVEN_LOGITS,
    share=0.4,
)
def nothing_of_nothing(case: Case, call: Caller) -> Judgement:
    """A class at -inf with target probability 0 contributes 0, not NaN."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, only_soft_needs_grad, any_reduction),
    source="torch.autograd: each input that requires a gradient gets it, whatever the others do",
    needs=("soft_target", "gradient", "target_gradient"),
    families=CLASSES,
    share=0.5,
)
def only_target_gradient(case: Case, call: Caller) -> Judgement:
    """Probabilities get their gradient also where the logits require none."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, fine_soft, any_reduction),
    source=SOURCE,
    needs=SOFT,
    families=CLASSES,
    share=0.6,
)
def all_bits(case: Case, call: Caller) -> Judgement:
    """Probabilities are used with all their bits, not rounded to fewer."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, soft, option("ignore_index", -1, 0, 1, -7), any_reduction),
    source="torch.nn.CrossEntropyLoss: ignore_index is for class indices only",
    needs=("soft_target", "ignore_index"),
    families=CLASSES,
    share=0.6,
    shows=shown.RIGHT_OR_RAISES,
)
def ignore_index_is_for_indices(case: Case, call: Caller) -> Judgement:
    """With probabilities ignore_index changes nothing, or is refused."""
    yield from right_or_raises(case, call)


@rule(
    "should",
    cases=vary(several_rows, soft, option("ignore_index", -1, -7), any_reduction),
    source="torch.nn.functional.cross_entropy refuses an ignore_index >= 0 only",
    needs=("soft_target", "ignore_index"),
    families=("cross_entropy",),
    share=0.2,
)
def negative_ignore_index(case: Case, call: Caller) -> Judgement:
    """A negative ignore_index, which no class is, goes with probabilities."""
    yield from agrees(call(case))
