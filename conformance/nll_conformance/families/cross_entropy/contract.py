"""Cross entropy: how it is called, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="cross_entropy",
    call=(
        'f(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0)'
    ),
    formula=(
        "loss_n = -w[t_n] log softmax(x_n)[t_n]; smoothed: the target distribution is "
        "(1 - eps) onehot(t_n) + eps / C; class probabilities q: -sum_j w_j q_nj log p_nj; "
        "mean divides by the sum of w[t_n] over counted rows (class indices) or by the "
        "number of counted rows (class probabilities)"
    ),
    source="torch.nn.CrossEntropyLoss",
    positional=("input", "target"),
    tensors=("weight", "mask"),
    defaults={"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    contract=(
        *REDUCTIONS,
        "spatial",
        "unbatched",
        "soft_target",
        "target_gradient",
        "gradient",
        "empty_batch",
        "ignore_minus_100",
    ),
    divergences={
        # All targets ignored under mean: 0/0, or a guarded denominator (Liger, megablocks).
        "all_ignored_mean": ("nan", "zero"),
        "empty_mean": ("nan", "zero"),
        # The dtype of the loss for float16 and bfloat16 inputs (flash-attn, CCE: float32).
        "half_output": ("input", "float32"),
    },
    extra_arguments=("size_average", "reduce"),
    eager="torch.nn.functional:cross_entropy",
)
