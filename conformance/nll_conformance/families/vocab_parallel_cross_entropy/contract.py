"""Vocabulary-parallel cross entropy: its call, what belongs to it, where libraries differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="vocab_parallel_cross_entropy",
    call=(
        "f(input, target, weight=None, ranks=2, ignore_index=-100, "
        'reduction="mean", label_smoothing=0.0)'
    ),
    formula=(
        "loss[r] is, on every rank r, the cross entropy of the unsplit logits; rank r holds the "
        "classes r k <= j < (r + 1) k of them, k = ceil(C / ranks).  The same upstream gradient "
        "g arrives at every rank's loss, and the gradient of the logits is, shard by shard, "
        "that of the one unsplit loss under g: not of the sum over ranks"
    ),
    source=(
        "torch.distributed.tensor.parallel.loss_parallel; "
        "megatron.core.tensor_parallel.vocab_parallel_cross_entropy"
    ),
    positional=("input", "target"),
    tensors=("weight",),
    defaults={"ranks": 2, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    contract=(
        *REDUCTIONS,
        "spatial",
        "unbatched",
        "uneven_shards",
        "empty_shards",
        "gradient",
        "empty_batch",
        "ignore_minus_100",
    ),
    divergences={
        "all_ignored_mean": ("nan", "zero"),
        "empty_mean": ("nan", "zero"),
        "half_output": ("input", "float32"),
        # The smoothing mass is spread over all C classes, or over the C - 1 others (Megatron).
        "smoothed_over": ("all", "others"),
    },
    copies="ranks",
)
