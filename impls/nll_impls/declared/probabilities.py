"""NLL of probabilities as tutorials and repositories write it, a technique each."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily
from .log_probabilities import DIVERGENCES, not_contiguous


def _by_hand(name: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.losses.{name}:loss"),
        family="prob_nll",
        divergences=DIVERGENCES,
        promises=("double_backward", "jvp", "vmap", "deterministic"),
        **declared,
    )


_LOG_OF_ALL = "the logarithm of every class is taken: at probability 0 its gradient is 0/0"

IMPLEMENTATIONS = (
    _by_hand("prob_gather", precision="fp32_inside"),
    _by_hand("prob_masked", precision="rounded_rows"),
    _by_hand("prob_one_hot", precision="fp32_inside"),
    _by_hand(
        "prob_log_nll",
        precision="input_dtype",
        expected=(
            Expected(
                "prob_nll.zero_elsewhere_gradient",
                reason=_LOG_OF_ALL,
                link="https://github.com/pytorch/pytorch/issues/1620",
            ),
            Expected(
                "ignore_index.nonfinite_gradient",
                reason="the logarithm of NaN in an ignored row multiplies its zero gradient",
                link="https://github.com/pytorch/pytorch/issues/11551",
            ),
            *not_contiguous("prob_nll", regime="simplex", scale=-1, offset=1 / 6, modulus=86),
        ),
    ),
)
