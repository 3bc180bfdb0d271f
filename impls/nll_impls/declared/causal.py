"""Causal cross entropy: labels shifted by slicing, or by ignoring the last position."""

from __future__ import annotations

from nll_conformance.model import Implementation

from .. import lazily


def _causal(name: str, url: str | None = None) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.losses.{name}:loss"),
        family="causal_cross_entropy",
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        promises=("double_backward", "jvp", "deterministic"),
        url=url,
    )


IMPLEMENTATIONS = (
    _causal("causal_shifted"),
    _causal(
        "causal_by_ignoring",
        url="https://github.com/huggingface/transformers/blob/main/src/transformers/loss/loss_utils.py",
    ),
)
