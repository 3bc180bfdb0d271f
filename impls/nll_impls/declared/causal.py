"""Causal cross entropy: labels shifted by slicing, or by ignoring the last position."""

from __future__ import annotations

from nll_conformance.model import Expected, Implementation

from .. import lazily

NONFINITE = Expected(
    "ignore_index.nonfinite_gradient",
    reason="the softmax of an ignored row is multiplied by zero",
    link="https://github.com/pytorch/pytorch/issues/11551",
)
LAST = Expected(
    "causal_cross_entropy.nonfinite_last_gradient",
    reason="the last position is an ignored row here: its softmax is multiplied by zero",
    link="https://github.com/pytorch/pytorch/issues/11551",
)
HALF_SUM = Expected(
    "stability.many_equal_classes",
    dtype="float16",
    reason="log_softmax on a CPU keeps the sum of exponentials in float16: infinite at 65504",
    link="https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.log_softmax.html",
)


def _causal(name: str, *expected: Expected, url: str | None = None) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.losses.{name}:loss"),
        family="causal_cross_entropy",
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        promises=("double_backward", "jvp", "deterministic"),
        expected=(NONFINITE, HALF_SUM, *expected),
        url=url,
    )


IMPLEMENTATIONS = (
    _causal("causal_shifted"),
    _causal(
        "causal_by_ignoring",
        LAST,
        url="https://github.com/huggingface/transformers/blob/main/src/transformers/loss/loss_utils.py",
    ),
)
