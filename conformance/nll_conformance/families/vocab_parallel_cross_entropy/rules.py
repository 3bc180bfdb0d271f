"""Sentences about the split: every rank the whole loss, and the gradient of its own classes."""

from __future__ import annotations

from ...cases import any_reduction, forward_only, mixed_upstream, unreduced, vary
from ...classification import smoothed
from ...contract import rule
from ...judge import agrees, gradients_agree, identical, value_agrees
from ...model import Case, Judgement
from ...observe import Caller
from ...together import maybe_an_option
from .variations import (
    border_targets,
    empty_shards,
    even_shards,
    excluded_shard,
    one_shard,
    one_shards_maximum,
    one_shards_targets,
    split_over,
    uneven_shards,
)

SOURCE = "Megatron-LM, arXiv:1909.08053, section 3: the parallel loss is the unsplit one"
GRADIENT = ("gradient",)
#: Also a number that is no power of two, for trees and rings.
RANKS = split_over(2, 4, 3)


@rule("must", cases=vary(even_shards, any_reduction, forward_only), source=SOURCE)
def every_rank(case: Case, call: Caller) -> Judgement:
    """Every rank returns the loss of the unsplit logits, not a part of it, and not rank 0 alone."""
    yield from value_agrees(call(case))


@rule("must", cases=vary(RANKS, any_reduction), source=SOURCE, needs=("ranks",))
def any_ranks(case: Case, call: Caller) -> Judgement:
    """Two, three and four ranks give the same loss, and put together the same gradient."""
    yield from agrees(call(case))


@rule("must", cases=vary(one_shard, any_reduction), source=SOURCE, needs=("ranks",), share=0.4)
def single_rank(case: Case, call: Caller) -> Judgement:
    """One rank that holds all classes has the ordinary cross entropy."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_shard, maybe_an_option, any_reduction),
    source=SOURCE,
    needs=("ranks",),
    share=0.4,
)
def single_rank_with_options(case: Case, call: Caller) -> Judgement:
    """One rank has weights and smoothing like any number of them."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(even_shards, unreduced, mixed_upstream),
    source="a loss that every rank returns is one loss: its gradient is not that of the sum",
    needs=GRADIENT,
)
def own_gradient(case: Case, call: Caller) -> Judgement:
    """Each rank's gradient is that of the one loss in its own classes, not times the ranks."""
    yield from gradients_agree(call(case))


@rule("must", cases=vary(border_targets, unreduced), source=SOURCE)
def border_classes(case: Case, call: Caller) -> Judgement:
    """The first and the last class of a shard belong to that rank and to no other."""
    yield from agrees(call(case))


@rule("must", cases=vary(one_shards_targets, any_reduction), source=SOURCE)
def targets_elsewhere(case: Case, call: Caller) -> Judgement:
    """A rank that holds no target has the same loss, and subtracts nothing from its gradient."""
    yield from agrees(call(case))


@rule("must", cases=vary(one_shards_maximum, any_reduction), source=SOURCE)
def maximum_elsewhere(case: Case, call: Caller) -> Judgement:
    """The logits of all ranks are shifted by one maximum, in whichever shard it is."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(excluded_shard, any_reduction),
    source="a vocabulary padded with -inf to a multiple of the ranks",
)
def excluded_classes(case: Case, call: Caller) -> Judgement:
    """A shard whose logits are all -inf has no share and gets a gradient of zero."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(uneven_shards, any_reduction),
    source="torch.chunk, DTensor: the last shard may be smaller",
    needs=("uneven_shards",),
)
def uneven(case: Case, call: Caller) -> Judgement:
    """Classes need not be divisible by the ranks: the last shard may be smaller."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(empty_shards, any_reduction),
    source="torch.chunk, DTensor: shards may be empty",
    needs=("empty_shards",),
    share=0.4,
)
def empty(case: Case, call: Caller) -> Judgement:
    """With fewer classes than ranks the ranks that hold none return the loss, too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(RANKS, smoothed(), any_reduction),
    source=SOURCE,
    needs=("label_smoothing",),
)
def smoothing_over_all(case: Case, call: Caller) -> Judgement:
    """Smoothing is spread over the classes of all ranks, not over those of a shard."""
    yield from agrees(call(case))


@rule(
    "should",
    cases=vary(RANKS, any_reduction, forward_only),
    source="branches on the loss (skipped steps, loss scaling) must go the same way everywhere",
    shows="""
        loss = {call}
        for rank in loss:
            torch.testing.assert_close(rank, loss[0], rtol=0, atol=0, equal_nan=True)
    """,
)
def same_bits(case: Case, call: Caller) -> Judgement:
    """Every rank returns the same bits."""
    value = call(case).value
    for rank in range(1, len(value)):
        yield from identical(f"the loss of rank {rank} beside rank 0", value[rank], value[0])
