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


SAME_AS_EAGER = "the same call without options is right"
EXPECTED_CHUNKED = (
    Expected(
        "ignore_index.all_ignored_mean",
        reason="gradients precomputed as 0 * NaN are NaN, not 0; " + SAME_AS_EAGER,
        link=DOCS,
    ),
    Expected(
        "ignore_index.in_range",
        reason="where the ignored class is every row's target: as all_ignored_mean",
        link=DOCS,
    ),
    Expected(
        "ignore_index.nonfinite_loss",
        reason="the losses of ignored rows are multiplied by zero; " + SAME_AS_EAGER,
        link="https://github.com/pytorch/pytorch/issues/11551",
    ),
    Expected(
        "transforms.jvp",
        reason="documented as unsupported, but it returns a derivative of 0 silently",
        link=DOCS,
    ),
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
        expected=EXPECTED_CHUNKED,
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
