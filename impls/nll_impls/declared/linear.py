"""Linear cross entropy: PyTorch's ways, the composition, and chunks by hand."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}
DOCS = "https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.linear_cross_entropy.html"
COMPOSED = ("double_backward", "jvp", "deterministic")


def _linear(name: str, where: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(where),
        family="linear_cross_entropy",
        divergences=DIVERGENCES,
        **declared,
    )


NONFINITE = Expected(
    "ignore_index.nonfinite_gradient",
    reason="the softmax of an ignored row is multiplied by zero",
    link="https://github.com/pytorch/pytorch/issues/11551",
)
IMPLEMENTATIONS = (
    _linear(
        "torch_linear_cross_entropy",
        "torch.nn.functional:linear_cross_entropy",
        precision="input_dtype",
        promises=COMPOSED,
        url=DOCS,
    ),
    _linear(
        "torch_linear_cross_entropy_module",
        "nll_impls.losses.torch_linear:module",
        precision="input_dtype",
        promises=COMPOSED,
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.LinearCrossEntropyLoss.html",
    ),
    _linear(
        "torch_linear_cross_entropy_chunked",
        "nll_impls.losses.torch_linear:chunked",
        precision="input_dtype",
        lacks=("soft_target",),
        url=DOCS,
    ),
    _linear(
        "linear_then_cross_entropy",
        "nll_impls.losses.linear_then_cross_entropy:loss",
        precision="input_dtype",
        promises=COMPOSED,
    ),
    _linear(
        "linear_chunked",
        "nll_impls.losses.linear_chunked:loss",
        precision="fp32_inside",
        lacks=("soft_target",),
        promises=("deterministic",),
    ),
)
