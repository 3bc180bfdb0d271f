"""Poisson NLL: how it is called, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="poisson_nll",
    call='f(input, target, log_input=True, full=False, eps=1e-8, reduction="mean")',
    formula=(
        "log_input: loss = exp(x) - y x, otherwise x - y log(x + eps); full adds Stirling's "
        "y log y - y + log(2 pi y) / 2 where y > 1; mean divides by the number of elements"
    ),
    source="torch.nn.PoissonNLLLoss",
    positional=("input", "target"),
    tensors=(),
    defaults={"log_input": True, "full": False, "eps": 1e-8, "reduction": "mean"},
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
    modes={"log_rate": ("log_input", True), "rate": ("log_input", False)},
    extra_arguments=("size_average", "reduce"),
    differentiable=("input", "target"),
    axes="NxD",
    shapes=("2048x512",),
    eager="torch.nn.functional:poisson_nll_loss",
)
