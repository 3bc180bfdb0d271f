"""Losses that judge each element by itself: PyTorch's own, and the same by hand."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

PROMISES = ("double_backward", "jvp", "deterministic")
DIVERGENCES = {"empty_mean": "nan", "half_output": "input"}
DOCS = "https://docs.pytorch.org/docs/2.13/generated"

#: pytorch#176244: the sizes of all mismatched dimensions of var must add up to one.
ONE_UNIT_DIMENSION = Expected(
    rule="gaussian_nll.unit_dimensions",
    reason="a variance with two dimensions of size 1 is refused",
    link="https://github.com/pytorch/pytorch/issues/176244",
)
#: eps 1e-8 is below half of float16's smallest number; log(0 + eps) is log(0).
NO_EPS_IN_FLOAT16 = Expected(
    rule="poisson_nll.zero_rate",
    dtype="float16",
    reason="input + eps is rounded to float16, where the default eps of 1e-8 vanishes",
    link="https://github.com/pytorch/pytorch/pull/3336",
)
#: masked_fill leaves the forward alone; backward multiplies 0 by the derivative at log(0).
NAN_FOR_ZERO_TARGET = Expected(
    rule="poisson_nll.full_target_gradient_at_zero",
    reason="Stirling's term is masked after it was computed: 0 * inf in backward",
    link="https://github.com/pytorch/pytorch/issues/4132",
)


def _declared(name: str, where: str, family: str, **facts: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(where),
        family=family,
        divergences=DIVERGENCES,
        **{"promises": PROMISES, **facts},
    )


def _pytorch(
    name: str, function: str, module: str, expected: tuple[Expected, ...] = (), **facts: Any
) -> tuple[Implementation, Implementation]:
    """PyTorch's function of a family and its module."""
    shared = {"precision": "input_dtype", "expected": expected, **facts}
    return (
        _declared(
            f"torch_{name}",
            f"torch.nn.functional:{function}",
            name,
            url=f"{DOCS}/torch.nn.functional.{function}.html",
            **shared,
        ),
        _declared(
            f"torch_{name}_module",
            f"torch.nn:{module}",
            name,
            url=f"{DOCS}/torch.nn.{module}.html",
            **shared,
        ),
    )


IMPLEMENTATIONS = (
    *_pytorch("gaussian_nll", "gaussian_nll_loss", "GaussianNLLLoss", (ONE_UNIT_DIMENSION,)),
    *_pytorch(
        "poisson_nll",
        "poisson_nll_loss",
        "PoissonNLLLoss",
        (NO_EPS_IN_FLOAT16, NAN_FOR_ZERO_TARGET),
    ),
    *_pytorch("bce_with_logits", "binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    _declared(
        "gaussian_by_hand",
        "nll_impls.losses.gaussian:loss",
        "gaussian_nll",
        precision="fp32_inside",
        lacks=("homoscedastic", "scalar_var"),
    ),
    _declared(
        "gaussian_homoscedastic_by_hand",
        "nll_impls.losses.gaussian_homoscedastic:loss",
        "gaussian_nll",
        precision="fp32_inside",
    ),
    _declared(
        "poisson_by_hand",
        "nll_impls.losses.poisson:loss",
        "poisson_nll",
        precision="fp32_inside",
    ),
    _declared(
        "bce_softplus",
        "nll_impls.losses.bce_softplus:loss",
        "bce_with_logits",
        precision="fp32_inside",
    ),
)
