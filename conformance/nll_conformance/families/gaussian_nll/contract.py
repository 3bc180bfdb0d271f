"""Gaussian NLL: how it is called, what belongs to it, where libraries legitimately differ."""

from __future__ import annotations

from ...family import REDUCTIONS, Family

FAMILY = Family(
    name="gaussian_nll",
    call='f(input, target, var, full=False, eps=1e-6, reduction="mean")',
    formula=(
        "loss = (log v + (input - target)^2 / v) / 2 with v = max(var, eps), plus "
        "log(2 pi) / 2 if full; the gradient for var is taken at v and passes the floor; "
        "mean divides by the number of elements of input; var has the input's shape, lacks "
        "its last dimension, or has one dimension of size 1"
    ),
    source="torch.nn.GaussianNLLLoss",
    positional=("input", "target", "var"),
    tensors=(),
    defaults={"full": False, "eps": 1e-6, "reduction": "mean"},
    contract=(
        *REDUCTIONS,
        "gradient",
        "target_gradient",
        "homoscedastic",
        "scalar_var",
        "target_broadcast",
        # A floor below which variances are raised; a density has none and may refuse zero.
        "variance_floor",
        "scalar_shape",
        "empty_batch",
    ),
    divergences={
        "empty_mean": ("nan", "zero"),
        # The dtype of the loss for float16 and bfloat16 inputs.
        "half_output": ("input", "float32"),
    },
    differentiable=("input", "target", "var"),
    axes="NxD",
    shapes=("2048x512",),
    eager="torch.nn.functional:gaussian_nll_loss",
)
