"""NLL of probabilities: how it is called, what belongs to it, where libraries differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="prob_nll",
    call='f(input, target, weight=None, ignore_index=-100, reduction="mean")',
    formula=(
        "loss_n = -w[t_n] log p_n[t_n], p being probabilities, which are taken as they are: "
        "no epsilon, no clamping, no division by their sum; mean divides by the sum of "
        "w[t_n] over the counted rows"
    ),
    source="the negative log-likelihood -log p(t) (Bishop 2006, equation 4.108)",
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
    # Keras clips probabilities to [1e-7, 1 - 1e-7] and divides rows by their sum: another
    # loss, whose gradient vanishes where the model is most wrong.  Not a legal value here.
    divergences={
        "all_ignored_mean": ("nan", "zero"),
        "empty_mean": ("nan", "zero"),
        "half_output": ("input", "float32"),
    },
    extra_arguments=("size_average", "reduce"),
    shapes=("8192x1000", "65536x64"),
)
