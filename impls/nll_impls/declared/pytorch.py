"""PyTorch's own cross entropies, as they are."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

_IGNORED_NAN = Expected(
    "ignore_index.nonfinite_gradient",
    reason="log_softmax backward computes 0 - p * 0 with p = NaN in an ignored row",
    link="https://github.com/pytorch/pytorch/issues/11551",
)
_MANY_CLASSES = Expected(
    "stability.many_equal_classes",
    dtype="float16",
    device="cpu",
    reason="log_softmax sums in float16 on a CPU: more than 65504 equal classes are inf",
    link="https://github.com/pytorch/pytorch/issues/140222",
)
_ONE_SAMPLE = Expected(
    "combinations.all_options",
    device="cuda",
    reason="the mean of one unbatched sample that is ignored is 0 on a GPU, else NaN",
    link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.nll_loss.html",
)
#: Where PyTorch is wrong; each was confirmed by hand, with torch 2.13 on a CPU or 2.11 on a GPU.
FAULTS = (
    _IGNORED_NAN,
    Expected(
        "soft_target.nothing_of_nothing",
        reason="probability 0 times a log-probability of -inf is NaN, 0 log 0 should count as 0",
        link="https://github.com/pytorch/pytorch/issues/11551",
    ),
    Expected(
        "errors.smoothing_range",
        reason="a negative label_smoothing is taken for 0; only more than 1 raises",
        link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.CrossEntropyLoss.html",
    ),
    _MANY_CLASSES,
    _ONE_SAMPLE,
)


def _pytorch(name: str, where: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(where),
        family="cross_entropy",
        precision="input_dtype",
        divergences={
            "all_ignored_mean": "nan",
            "empty_mean": "nan",
            "half_output": "input",
        },
        promises=("double_backward", "jvp", "vmap", "deterministic"),
        **declared,
    )


IMPLEMENTATIONS = (
    _pytorch(
        "torch_cross_entropy",
        "torch.nn.functional:cross_entropy",
        expected=FAULTS,
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.cross_entropy.html",
    ),
    _pytorch(
        "torch_cross_entropy_module",
        "torch.nn:CrossEntropyLoss",
        expected=FAULTS,
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.CrossEntropyLoss.html",
    ),
    _pytorch(
        "torch_log_softmax_nll",
        "nll_impls.losses.log_softmax_nll:LogSoftmaxNLLLoss",
        lacks=("soft_target",),
        expected=(_IGNORED_NAN, _MANY_CLASSES, _ONE_SAMPLE),
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.NLLLoss.html",
    ),
)
