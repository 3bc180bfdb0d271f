"""Cross entropy as people write it, a technique each, in :mod:`nll_impls.losses`."""

from __future__ import annotations

from typing import Any

from nll_conformance.model import Expected, Implementation

from .. import lazily

#: What :class:`nll_impls.losses.rows.Rows` does for all of them, as PyTorch does.
DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}


def _by_hand(name: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(f"nll_impls.losses.{name}:loss"),
        family="cross_entropy",
        divergences=DIVERGENCES,
        **declared,
    )


#: Rules that need a probability which the logarithm of a softmax has lost.
_LOST = (
    "gradients.wrong",
    "stability.wrong_target_is_linear",
    "stability.huge",
    "stability.ordered_classes",
    "stability.maximum_anywhere",
    "reductions.mean_of_large_losses",
    "combinations.extreme_logits",
)
#: In float16 much larger probabilities are lost, or kept with few bits.
_LOST_IN_FLOAT16 = (
    "values.row_loss",
    "values.confident",
    "reductions.each_with_gradient",
    "gradients.large_vocabulary",
    "gradients.confident",
    "stability.many_equal_classes",
    "values.accuracy_set",
    "dtypes.high_targets",
    "autograd.accumulates",
)


def _underflow() -> tuple[Expected, ...]:
    """What log(softmax(x)) is known to get wrong: it is why log_softmax exists."""
    reason = "softmax underflows before the logarithm is taken: -log 0 is inf, its gradient NaN"
    link = "https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.log_softmax.html"
    return (
        *(Expected(rule, reason=reason, link=link) for rule in _LOST),
        *(Expected(rule, dtype="float16", reason=reason, link=link) for rule in _LOST_IN_FLOAT16),
    )


IMPLEMENTATIONS = (
    _by_hand(
        "naive",
        lacks=("soft_target",),
        expected=_underflow(),
        precision="input_dtype",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "log_softmax_gather",
        precision="input_dtype",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
        expected=(
            Expected(
                "stability.many_equal_classes",
                dtype="float16",
                device="cpu",
                reason="log_softmax sums in float16 on a CPU: over 65504 equal classes are inf",
                link="https://github.com/pytorch/pytorch/issues/140222",
            ),
        ),
    ),
    _by_hand(
        "gathered",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "one_hot",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "masked",
        precision="rounded_rows",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    _by_hand(
        "chunked",
        precision="fp32_inside",
        promises=("double_backward", "jvp", "vmap", "deterministic"),
    ),
    # A custom autograd function without a forward-mode derivative: no promise of jvp.
    _by_hand(
        "online_softmax",
        precision="fp32_inside",
        promises=("double_backward", "vmap", "deterministic"),
    ),
)
