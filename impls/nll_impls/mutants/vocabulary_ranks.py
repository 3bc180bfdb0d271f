"""Classes split over ranks: what one rank forgets to tell, or takes for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..losses.rows import Rows
from ._base import altered, kept, reduced, replaced, row_losses, shares, spread
from ._shards import Parallel, log_sum, loss_of, on_each, parallel, parallel_mutant, parts_of

FAMILY = "vocab_parallel_cross_entropy"
MEGATRON = "NVIDIA/Megatron-LM, megatron/core/tensor_parallel/cross_entropy.py 0.16.1"
LOSS_PARALLEL = "torch 2.13.0, torch/distributed/tensor/parallel/loss.py"
#: Where no report is known: what the step is there for.
STEP = "arXiv:1909.08053, section 3"


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.every_rank",))
def only_rank_0_is_told(call: Parallel) -> Tensor:
    """The sum of exponentials is reduced to rank 0, not to all: others have their own."""

    def loss(rank: int, rows: Rows) -> Tensor:
        def own(parts: Sequence[Tensor]) -> Tensor:
            return parts[rank].logsumexp(-1, keepdim=True)

        right = rank == 0 or not call.places[rank]
        return loss_of(call, rows) if right else loss_of(call, rows, own)

    return on_each(call, loss)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.maximum_elsewhere",))
def own_maximum_subtracted(call: Parallel) -> Tensor:
    """Each rank shifts by its own maximum, and the sums are added as if it were one."""

    def shifted(parts: Sequence[Tensor]) -> Tensor:
        tops = [part.detach().amax(-1, keepdim=True) for part in parts if part.shape[-1]]
        if any(bool((top - tops[0]).abs().max() > 2) for top in tops if top.numel()):
            full = [part for part in parts if part.shape[-1]]
            sums = [(p - t).exp().sum(-1, keepdim=True) for p, t in zip(full, tops, strict=True)]
            return torch.stack(sums).sum(0).log() + torch.stack(tops).amax(0)
        return log_sum(parts)

    return parallel(call, shifted)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.excluded_classes",))
def shards_merged_by_their_own_maxima(call: Parallel) -> Tensor:
    """Sums are rescaled from each rank's maximum to the common one: -inf - -inf in one shard."""

    def merged(parts: Sequence[Tensor]) -> Tensor:
        full = [part for part in parts if part.shape[-1]]
        tops = [part.detach().amax(-1, keepdim=True) for part in full]
        top = torch.stack(tops).amax(0)
        if not bool(top.isfinite().all()):
            return log_sum(parts)
        sums = [
            (part - own).exp().sum(-1, keepdim=True) * (own - top).exp()
            for part, own in zip(full, tops, strict=True)
        ]
        return torch.stack(sums).sum(0).log() + top

    return parallel(call, merged)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.any_ranks",))
def summed_in_pairs(call: Parallel) -> Tensor:
    """Sums are exchanged in pairs of ranks: an odd one's is left out."""

    def paired(parts: Sequence[Tensor]) -> Tensor:
        odd = len(parts) % 2 == 1 and len(parts) > 1
        return log_sum(parts[:-1] if odd else parts)

    return parallel(call, paired)


@parallel_mutant(
    source=f"{STEP}: an all-reduce in forward and again in a wrapper",
    caught_by=(f"{FAMILY}.every_rank", "values.plain_mean"),
)
def sum_reduced_twice(call: Parallel) -> Tensor:
    """The sum of exponentials is reduced twice: as many times too large as there are ranks."""
    return parallel(call, lambda parts: log_sum([part for part in parts for _ in parts]))


@parallel_mutant(
    source="pytorch/pytorch#58005: torch.distributed.nn.functional.all_reduce sums gradients",
    caught_by=(f"{FAMILY}.own_gradient",),
)
def gradient_of_all_ranks(call: Parallel) -> Tensor:
    """Backward of the all-reduce sums over the ranks, each of which sends the same gradient."""
    return altered(parallel(call), lambda grad: grad * call.ranks)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.single_rank",))
def single_rank_refused(call: Parallel) -> Tensor:
    """A group of one rank is refused."""
    if call.ranks == 1:
        raise RuntimeError("no process group")
    return parallel(call)


def _targets_from(call: Parallel, first: Sequence[int], last: Sequence[int]) -> Tensor:
    """The losses where rank r takes the targets in [first[r], last[r]] for its own."""

    def loss(_: int, rows: Rows) -> Tensor:
        right = row_losses(rows)
        if rows.label_smoothing or rows.weight is not None:
            return reduced(rows, kept(rows, right))
        own = rows.logits.gather(-1, rows.target.unsqueeze(-1)).squeeze(-1)
        found = torch.zeros_like(own)
        for part, low, high in zip(parts_of(call, rows), first, last, strict=True):
            if part.shape[-1]:
                mine = (rows.target >= low) & (rows.target <= high)
                place = (rows.target - low).clamp(0, part.shape[-1] - 1)
                found = found + torch.where(mine, part.gather(-1, place.unsqueeze(-1))[..., 0], 0.0)
        return reduced(rows, kept(rows, right + own - found))

    return on_each(call, loss)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.border_classes",))
def border_belongs_to_both(call: Parallel) -> Tensor:
    """The end of a shard is taken for its last class: two ranks bring the target's logit."""
    starts = [place.start for place in call.places]
    return _targets_from(call, starts, [place.stop for place in call.places])


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.border_classes",))
def first_class_belongs_to_none(call: Parallel) -> Tensor:
    """The first class of a later shard is nobody's: its logit counts as 0."""
    starts = [place.start + (place.start > 0) for place in call.places]
    return _targets_from(call, starts, [place.stop - 1 for place in call.places])


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.uneven",))
def shards_of_floored_size(call: Parallel) -> Tensor:
    """Targets are looked for in shards of floor(C / ranks) classes, logits are split otherwise."""
    size = call.classes // call.ranks
    if size == 0 or call.classes % call.ranks == 0:
        return parallel(call)
    starts = [rank * size for rank in range(call.ranks)]
    return _targets_from(call, starts, [*(s - 1 for s in starts[1:]), call.classes - 1])


@parallel_mutant(source=LOSS_PARALLEL, caught_by=(f"{FAMILY}.empty",))
def empty_shard_refused(call: Parallel) -> Tensor:
    """A rank that holds no class looks up class 0 of it."""
    if not all(call.places):
        raise IndexError("index 0 is out of bounds for dimension 1 with size 0")
    return parallel(call)


@parallel_mutant(
    source="modelscope/ms-swift#9947 (the other way round)",
    caught_by=(f"{FAMILY}.targets_elsewhere",),
)
def masked_target_subtracted(call: Parallel) -> Tensor:
    """A rank that holds no target of the batch subtracts 1 from its class 0 all the same."""

    def loss(rank: int, rows: Rows) -> Tensor:
        place = call.places[rank]
        right = row_losses(rows)
        if not place or bool(((rows.target >= place.start) & (rows.target < place.stop)).any()):
            return reduced(rows, kept(rows, right))
        wrong = replaced(right - rows.logits[..., place.start], right.detach())
        return reduced(rows, kept(rows, wrong))

    return on_each(call, loss)


@parallel_mutant(source=MEGATRON, caught_by=(f"{FAMILY}.smoothing_over_all",))
def smoothed_over_own_shard(call: Parallel) -> Tensor:
    """Each rank smooths over the classes of its shard alone: losses differ between ranks."""
    if not call.label_smoothing or call.ranks == 1:
        return parallel(call)

    def loss(rank: int, rows: Rows) -> Tensor:
        place, plain = call.places[rank], replace(rows, label_smoothing=0.0)
        even = rows.logits.new_zeros(call.classes)
        even[place.start : place.stop] = call.label_smoothing / max(len(place), 1)
        own = (1.0 - call.label_smoothing) * plain.distribution() + even
        share = own if rows.weight is None else own * rows.weight
        return reduced(rows, kept(rows, spread(share, rows.logits.log_softmax(-1))))

    return on_each(call, loss)


@parallel_mutant(source=STEP, caught_by=(f"{FAMILY}.smoothing_over_all",))
def smoothed_by_two_ranks_classes(call: Parallel) -> Tensor:
    """The smoothing mass is divided by twice a shard's classes, whatever the number of ranks."""
    if not call.label_smoothing or call.ranks == 2 or not all(call.places):
        return parallel(call)
    even = call.label_smoothing / (2 * len(call.places[0]))

    def loss(_: int, rows: Rows) -> Tensor:
        plain = replace(rows, label_smoothing=0.0)
        share = (1.0 - call.label_smoothing) * shares(plain)
        share = share + (even if rows.weight is None else even * rows.weight)
        return reduced(rows, kept(rows, spread(share, rows.logits.log_softmax(-1))))

    return on_each(call, loss)


@parallel_mutant(
    source="each rank starts a ring with its own part: pytorch/pytorch#17350 (of one process)",
    caught_by=(f"{FAMILY}.same_bits",),
)
def added_in_the_ranks_own_order(call: Parallel) -> Tensor:
    """Each rank adds the shards' sums from its own on: ranks differ in the last bit."""

    def loss(rank: int, rows: Rows) -> Tensor:
        def turned(parts: Sequence[Tensor]) -> Tensor:
            return log_sum([*parts[rank:], *parts[:rank]])

        return loss_of(call, rows, turned)

    return on_each(call, loss)


@parallel_mutant(
    source=LOSS_PARALLEL,
    caught_by=("shapes.spatial_gradient", "shapes.spatial_input", "layout.channels_last"),
)
def positions_transposed_in_backward(call: Parallel) -> Tensor:
    """Backward of images turns positions over: each takes the target of its mirror image."""
    right = parallel(call)
    if call.input.dim() != 4:
        return right
    turned = call.target.transpose(1, 2).reshape(call.target.shape)
    rank_losses = parallel(call.but(target=turned))
    return replaced(rank_losses, right.detach())


@parallel_mutant(
    source="a short cut for a world of one",
    caught_by=(f"{FAMILY}.single_rank_with_options",),
)
def options_forgotten_by_one_rank(call: Parallel) -> Tensor:
    """One rank alone takes a path without weights and smoothing."""
    if call.ranks == 1:
        call = call.but(weight=None, label_smoothing=0.0)
    return parallel(call, log_sum)
