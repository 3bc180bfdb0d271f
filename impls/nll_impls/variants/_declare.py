"""How a variant declares itself."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

#: What autograd gives a composition of differentiable operations.
COMPOSED = ("double_backward", "jvp")
#: What PyTorch's picking of the target does on a GPU alone.
ONE_SAMPLE_ON_GPU = Expected(
    "combinations.all_options",
    device="cuda",
    reason="the mean of one unbatched sample that is ignored is 0 on a GPU, else NaN",
    link="https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html",
)
#: The same for whoever makes images of what is none.
IMAGES_ON_GPU = Expected(
    "ignore_index.beyond_32_bits",
    device="cuda",
    reason="for images ignore_index is narrowed to 32 bits on a GPU",
    link="https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html",
)
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
    ONE_SAMPLE_ON_GPU,
)

#: PyTorch in float16, which keeps the sum of exponentials in the input's dtype.
SATURATED = Expected(
    "stability.many_equal_classes",
    dtype="float16",
    reason="more than 65504 equal classes overflow the sum",
    link="https://github.com/pytorch/pytorch/issues/140222",
)
EAGER_HALF = (*EAGER, SATURATED)


def variant(module: str, attribute: str, name: str = "", **declared: Any) -> Implementation:
    """The loss ``attribute`` of ``module``; all else are fields of ``Implementation``."""
    declared.setdefault("precision", "fp32_inside")
    declared.setdefault("family", "cross_entropy")
    return Implementation(
        name=f"variant_{name or attribute}",
        load=lazily(f"{module}:{attribute}"),
        **declared,
    )
