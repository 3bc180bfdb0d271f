"""NLL of log-probabilities: something other than the target's entry, or not all of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import scaled
from ._base import NEVER, altered, counted, replaced
from ._memory import read_as_contiguous
from ._picked import Picked, cost_of, narrowed, nll, nll_mutant, reduced, square_turned

FORMULA = "implementations of the formula by hand"


@nll_mutant(source=FORMULA, caught_by=("nll.not_normalised_again",))
def normalised_again(call: Picked) -> Tensor:
    """log_softmax is applied, which log-probabilities have behind them."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, torch.neg, rows.logits.log_softmax(-1)))


@nll_mutant(source=FORMULA, caught_by=("nll.positive_entries",))
def absolute_value(call: Picked) -> Tensor:
    """The loss is the absolute value, which is minus the entry only where that is negative."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, torch.abs))


@nll_mutant(
    source="torch.nan_to_num before the sum, lest training stops",
    caught_by=("stability.nan_at_target",),
)
def unknown_costs_nothing(call: Picked) -> Tensor:
    """A target's entry that is NaN costs nothing."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, lambda p: torch.where(p.isnan(), 0.0, -p)))


@nll_mutant(source="torch.nn.BCELoss clamps logarithms at -100", caught_by=("nll.no_clamp",))
def clamped_at_minus_100(call: Picked) -> Tensor:
    """Log-probabilities below -100 are raised to it, -inf and their gradient included."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, torch.neg, rows.logits.clamp(min=-100.0)))


@nll_mutant(source="pytorch/xla#2553, #2991", caught_by=("nll.minus_infinity_elsewhere",))
def one_hot_times_everything(call: Picked) -> Tensor:
    """The entry is the sum of a product with one-hot rows: 0 times -inf."""
    rows = call.rows()
    entry = (replace(rows, weight=None).distribution() * rows.logits).sum(-1)
    weight = 1.0 if rows.weight is None else rows.of_targets(rows.weight)
    return reduced(rows, -entry * weight)


@nll_mutant(source=FORMULA, caught_by=("nll.minus_infinity_at_target",))
def infinite_loss_made_finite(call: Picked) -> Tensor:
    """nan_to_num makes the largest number of an infinite loss."""
    rows = call.rows()
    losses = cost_of(rows, torch.neg)
    largest = torch.finfo(call.input.dtype).max
    return reduced(rows, torch.where(losses.isposinf(), largest, losses))


@nll_mutant(source="pytorch/xla#2991", caught_by=("nll.others_unread",))
def guarded_one_hot(call: Picked) -> Tensor:
    """One-hot rows select the entry; infinities are guarded, NaN of another class is not."""
    rows = call.rows()
    weightless = replace(rows, weight=None)
    entry = scaled(weightless.distribution(), -rows.logits).sum(-1)
    return reduced(
        rows, entry if rows.weight is None else scaled(rows.of_targets(rows.weight), entry)
    )


@nll_mutant(source=FORMULA, caught_by=("nll.gradient_at_target_alone",))
def gradient_of_logits(call: Picked) -> Tensor:
    """The gradient is that of a cross entropy: every class gets some."""
    rows = call.rows()
    safe = torch.where(rows.logits.isfinite(), rows.logits, -60.0)
    entries = replaced(safe.log_softmax(-1), rows.logits.detach())
    return reduced(rows, cost_of(rows, torch.neg, entries))


@nll_mutant(source=FORMULA, caught_by=("nll.one_class_only",))
def one_class_costs_nothing(call: Picked) -> Tensor:
    """With a single class the loss is zero: there is nothing to choose."""
    rows = call.rows()
    losses = cost_of(rows, torch.neg)
    return reduced(rows, losses * 0.0 if rows.logits.shape[-1] == 1 else losses)


@nll_mutant(source="research/divergences.md, pitfall 8", caught_by=("nll.classes_in_dim_one",))
def classes_last_if_equal(call: Picked) -> Tensor:
    """Where the last dimension is as long as the classes', classes are looked up there."""
    return nll(square_turned(call))


@nll_mutant(source="tensorflow/models#6641", caught_by=("nll.every_target_class",))
def index_in_8_bits(call: Picked) -> Tensor:
    """Class indices are stored in 8 bits: those above 127 wrap."""
    return nll(narrowed(call, torch.int8))


@nll_mutant(
    source="research/divergences.md, pitfall 11",
    caught_by=("dtypes.high_targets",),
)
def index_through_bfloat16(call: Picked) -> Tensor:
    """Class indices above 256 pass through bfloat16, which has not every integer above it."""
    return nll(narrowed(call, torch.bfloat16))


@nll_mutant(source=FORMULA, caught_by=("nll.gathers_exactly",))
def entries_in_16_bits(call: Picked) -> Tensor:
    """Entries are rounded to bfloat16 when they are picked."""
    rows = call.rows()
    low = replaced(rows.logits, rows.logits.detach().bfloat16().to(rows.logits.dtype))
    return reduced(rows, cost_of(rows, torch.neg, low))


@nll_mutant(
    source="PaddlePaddle/Paddle#48663 (of a cross entropy)",
    caught_by=("ignore_index.default", "ignore_index.in_range"),
)
def mean_counts_ignored(call: Picked) -> Tensor:
    """The mean divides by all rows, the ignored ones too."""
    rows = call.rows()
    count = counted(rows) + (~rows.kept).sum()
    return reduced(rows, cost_of(rows, torch.neg), count)


@nll_mutant(source="pytorch/pytorch#54843, #65329", caught_by=("weight.rows",))
def mean_divides_by_rows(call: Picked) -> Tensor:
    """The weighted mean divides by the number of rows."""
    rows = call.rows()
    return reduced(rows, cost_of(rows, torch.neg), rows.kept.sum())


@nll_mutant(source="pytorch/pytorch#95794 (fixed by #95833)", caught_by=("ignore_index.negative",))
def only_minus_100_is_negative(call: Picked) -> Tensor:
    """Of the negative ignore indices only -100 is honoured; -1 is the last class."""
    if call.ignore_index >= 0 or call.ignore_index == -100:
        return nll(call)
    classes = call.rows().logits.shape[-1]
    hit = call.target == call.ignore_index
    last = torch.where(hit, call.ignore_index + classes, call.target.long())
    return nll(call.but(target=last, ignore_index=NEVER))


@nll_mutant(source="fla-org/flash-linear-attention@0fd3c681", caught_by=("layout.spatial_input",))
def images_read_as_contiguous(call: Picked) -> Tensor:
    """Inputs of three and more dimensions are read as if they were contiguous."""
    input = read_as_contiguous(call.input) if call.input.dim() > 2 else call.input
    return nll(call.but(input=input))


@nll_mutant(source="torch.gather(sparse_grad=True)", caught_by=("autograd.gradient_meta",))
def sparse_gradient(call: Picked) -> Tensor:
    """The gradient of several rows is sparse, with which few operations can go on."""
    if len(call.input) == 1:
        return nll(call)
    return nll(call.but(input=altered(call.input, torch.Tensor.to_sparse)))
