"""PyTorch's own cross entropies, as they are."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Implementation

from .. import lazily


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
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.cross_entropy.html",
    ),
    _pytorch(
        "torch_cross_entropy_module",
        "torch.nn:CrossEntropyLoss",
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.CrossEntropyLoss.html",
    ),
    _pytorch(
        "torch_log_softmax_nll",
        "nll_impls.losses.log_softmax_nll:LogSoftmaxNLLLoss",
        lacks=("soft_target",),
        url="https://docs.pytorch.org/docs/2.13/generated/torch.nn.NLLLoss.html",
    ),
)
