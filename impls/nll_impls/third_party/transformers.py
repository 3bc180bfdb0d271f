"""Hugging Face Transformers: the loss of a causal language model, and its label smoother."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import torchvision_operators

if TYPE_CHECKING:
    from torch import Tensor

CODE = "https://github.com/huggingface/transformers/blob/main/src/transformers"
REQUIRES = ("transformers",)


def load_causal_lm() -> Callable[..., Any]:
    """``ForCausalLMLoss`` without ``num_items_in_batch``."""
    torchvision_operators()
    from transformers.loss.loss_utils import ForCausalLMLoss

    def transformers_causal_lm(input: Tensor, target: Tensor, ignore_index: int = -100) -> Any:
        return ForCausalLMLoss(input, target, input.shape[-1], ignore_index=ignore_index)

    return transformers_causal_lm


def load_label_smoother() -> Callable[..., Any]:
    """``LabelSmoother``, with a default of no smoothing."""
    torchvision_operators()
    from transformers.trainer_pt_utils import LabelSmoother

    def transformers_label_smoother(
        input: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> Any:
        smoother = LabelSmoother(epsilon=label_smoothing, ignore_index=ignore_index)
        return smoother({"logits": input}, target)

    return transformers_label_smoother


IMPLEMENTATIONS = (
    from_package(
        "transformers_causal_lm",
        load_causal_lm,
        family="causal_cross_entropy",
        distribution="transformers",
        requires=REQUIRES,
        divergences={"half_output": "float32"},
        precision="fp32_inside",
        promises=("double_backward", "jvp"),
        url=f"{CODE}/loss/loss_utils.py",
    ),
    from_package(
        "transformers_label_smoother",
        load_label_smoother,
        distribution="transformers",
        requires=REQUIRES,
        lacks=("spatial", "soft_target", "reduction_none", "reduction_sum"),
        precision="input_dtype",
        promises=("double_backward", "jvp"),
        url=f"{CODE}/trainer_pt_utils.py",
    ),
)
