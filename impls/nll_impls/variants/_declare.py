"""How a variant declares itself."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

#: What autograd gives a composition of differentiable operations.
COMPOSED = ("double_backward", "jvp")
#: The rules that eager PyTorch fails in every dtype, and whoever hands its logits on.
EAGER = (
    Expected(
        "ignore_index.nonfinite_gradient",
        reason="the softmax of an ignored row is multiplied by zero",
        link="https://github.com/pytorch/pytorch/issues/11551",
    ),
    Expected(
        "errors.smoothing_range",
        reason="a negative label_smoothing is not looked at",
        link="https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
    ),
    Expected(
        "soft_target.nothing_of_nothing",
        reason="zero times an infinite logarithm",
        link="https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
    ),
)

#: Eager PyTorch in float16, which keeps the sum of exponentials in the input's dtype.
EAGER_HALF = (
    *EAGER,
    Expected(
        "stability.many_equal_classes",
        dtype="float16",
        reason="more than 65504 equal classes overflow the sum",
        link="https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
    ),
)


def variant(module: str, attribute: str, name: str = "", **declared: Any) -> Implementation:
    """The loss ``attribute`` of ``module``; all else are fields of ``Implementation``."""
    declared.setdefault("precision", "fp32_inside")
    declared.setdefault("family", "cross_entropy")
    return Implementation(
        name=f"variant_{name or attribute}",
        load=lazily(f"{module}:{attribute}"),
        **declared,
    )
