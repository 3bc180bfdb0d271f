"""NLL of log-probabilities: how it is called, what belongs to it, where libraries differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="nll",
    call='f(input, target, weight=None, ignore_index=-100, reduction="mean")',
    formula=(
        "loss_n = -w[t_n] x_n[t_n], x being log-probabilities, which are taken as they are: "
        "not normalised again, and of either sign (the logarithm of a density may be "
        "positive); mean divides by the sum of w[t_n] over the counted rows"
    ),
    source="torch.nn.NLLLoss",
    positional=("input", "target"),
    tensors=("weight", "mask"),
    defaults={"ignore_index": -100, "reduction": "mean"},
    contract=(
        *REDUCTIONS,
        "spatial",
        "unbatched",
        "gradient",
        "empty_batch",
        "ignore_minus_100",
    ),
    divergences={
        # All targets ignored under mean: 0/0, or a guarded denominator.
        "all_ignored_mean": ("nan", "zero"),
        "empty_mean": ("nan", "zero"),
        # The dtype of the loss for float16 and bfloat16 inputs.
        "half_output": ("input", "float32"),
    },
    extra_arguments=("size_average", "reduce"),
    shapes=("8192x1000", "65536x64"),
    eager="torch.nn.functional:nll_loss",
)
