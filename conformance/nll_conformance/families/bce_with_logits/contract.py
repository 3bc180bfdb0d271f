"""BCE with logits: how it is called, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="bce_with_logits",
    call='f(input, target, weight=None, reduction="mean", pos_weight=None)',
    formula=(
        "loss = w [(1 - y) x + (1 + (p - 1) y) log(1 + exp(-x))] = "
        "-w [p y log sigmoid(x) + (1 - y) log sigmoid(-x)], weight w and pos_weight p "
        "broadcast to the input's shape from the last dimension; mean divides by the number "
        "of elements, whatever the weights"
    ),
    source="torch.nn.BCEWithLogitsLoss",
    positional=("input", "target"),
    tensors=("weight", "pos_weight"),
    defaults={"reduction": "mean"},
    contract=(
        *REDUCTIONS,
        "gradient",
        "target_gradient",
        "scalar_shape",
        "empty_batch",
    ),
    divergences={
        "empty_mean": ("nan", "zero"),
        # The dtype of the loss for float16 and bfloat16 inputs.
        "half_output": ("input", "float32"),
    },
    extra_arguments=("size_average", "reduce"),
    differentiable=("input", "target"),
    axes="NxD",
    shapes=("2048x512",),
    eager="torch.nn.functional:binary_cross_entropy_with_logits",
)
