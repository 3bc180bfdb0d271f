"""Causal cross entropy: its call, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import Family

FAMILY = Family(
    name="causal_cross_entropy",
    call="f(input, target, ignore_index=-100)",
    formula=(
        "mean over t < T - 1 with target[b, t + 1] != ignore_index of "
        "-log softmax(input[b, t])[target[b, t + 1]], logits (B, T, V), labels (B, T)"
    ),
    source="transformers: ForCausalLMLoss shifts labels inside, logits and labels of equal T",
    positional=("input", "target"),
    tensors=(),
    defaults={"ignore_index": -100},
    contract=("gradient", "empty_batch", "ignore_minus_100"),
    divergences={
        # Nothing left to score although there are labels: 0/0, or a guarded denominator.
        "all_ignored_mean": ("nan", "zero"),
        # Nothing to score from the start: T = 1, or no rows.
        "empty_mean": ("nan", "zero"),
        "half_output": ("input", "float32"),
    },
    axes="BxTxV",
    shapes=("4x512x32000",),
)
