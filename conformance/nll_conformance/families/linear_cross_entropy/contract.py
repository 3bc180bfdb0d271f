"""Linear cross entropy: its call, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="linear_cross_entropy",
    call=(
        "f(input, linear_weight, target, *, linear_bias=None, weight=None, "
        'ignore_index=-100, reduction="mean", label_smoothing=0.0)'
    ),
    formula=(
        "cross entropy of the logits x_n = linear_weight h_n + linear_bias, h the hidden "
        "states (N, H), the head (C, H), the bias (C,); the mean divides as cross entropy's"
    ),
    source="torch.nn.functional.linear_cross_entropy",
    positional=("input", "linear_weight", "target"),
    tensors=("linear_bias", "weight"),
    defaults={"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    contract=(
        *REDUCTIONS,
        "unbatched",
        "soft_target",
        "target_gradient",
        "gradient",
        "empty_batch",
        "ignore_minus_100",
    ),
    divergences={
        # All targets ignored under mean: 0/0, or a guarded denominator (Liger).
        "all_ignored_mean": ("nan", "zero"),
        "empty_mean": ("nan", "zero"),
        # The dtype of the loss for 16-bit hidden states (CCE, Liger: float32 inside).
        "half_output": ("input", "float32"),
    },
    # No tensor of all rows and classes is ever there: the logits come in chunks.
    on_promise=("chunked",),
    differentiable=("input", "linear_weight", "linear_bias"),
    axes="NxHxC",
    shapes=("1024x512x8192",),
    eager="torch.nn.functional:linear_cross_entropy",
)
