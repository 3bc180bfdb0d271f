"""Linear cross entropy: PyTorch's ways, the composition, and chunks by hand."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily
from ..installed import Since

DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}
DOCS = "https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.linear_cross_entropy.html"
NEEDS = "torch>=2.13"
COMPOSED = ("double_backward", "jvp", "deterministic")


def _linear(name: str, where: str, needs: str = "", **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=Since(needs, where) if needs else lazily(where),
        family="linear_cross_entropy",
        divergences=DIVERGENCES,
        **declared,
    )


NONFINITE = Expected(
    "ignore_index.nonfinite_gradient",
    reason="the softmax of an ignored row is multiplied by zero",
    link="https://github.com/pytorch/pytorch/issues/11551",
)
NEGATIVE_SMOOTHING = Expected(
    "errors.smoothing_range",
    reason="cross_entropy checks the upper end only",
    link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.CrossEntropyLoss.html",
)
HALF_SUM = Expected(
    "stability.many_equal_classes",
    dtype="float16",
    reason="log_softmax on a CPU keeps the sum of exponentials in float16: infinite at 65504",
    link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.log_softmax.html",
)
BROADCAST = Expected(
    "linear_cross_entropy.sizes",
    reason="linear broadcasts a bias of one entry",
    link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.linear.html",
)
ONCE = Expected(
    "linear_cross_entropy.second_order_penalty",
    reason="once_differentiable refuses only where the upstream gradient requires one, too",
    link="https://docs.pytorch.org/docs/2.13/notes/extending.html",
)
EAGER = (NONFINITE, NEGATIVE_SMOOTHING, HALF_SUM)
IMPLEMENTATIONS = (
    _linear(
        "torch_linear_cross_entropy",
        "torch.nn.functional:linear_cross_entropy",
        NEEDS,
        precision="input_dtype",
        promises=COMPOSED,
        expected=EAGER,
        url=DOCS,
    ),
    _linear(
        "torch_linear_cross_entropy_module",
        "nll_impls.losses.torch_linear:module",
        NEEDS,
        precision="input_dtype",
        promises=COMPOSED,
        expected=EAGER,
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.LinearCrossEntropyLoss.html",
    ),
    _linear(
        "linear_then_cross_entropy",
        "nll_impls.losses.linear_then_cross_entropy:loss",
        precision="input_dtype",
        promises=COMPOSED,
        expected=(*EAGER, BROADCAST),
    ),
    _linear(
        "linear_chunked",
        "nll_impls.losses.linear_chunked:loss",
        precision="fp32_inside",
        lacks=("soft_target",),
        promises=("deterministic", "chunked"),
        expected=(ONCE,),
    ),
)
