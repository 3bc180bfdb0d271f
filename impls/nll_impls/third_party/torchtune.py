"""torchtune: cross entropy in chunks of tokens, from the one file that is only torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._shims import load_file

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``CEWithChunkedOutputLoss`` of one sequence, chunked as its example does.

    The package itself cannot be imported beside a current torchao.
    """
    module = load_file("torchtune", "modules/loss/ce_chunked_output_loss.py", {})

    def torchtune_chunked(input: Tensor, target: Tensor, ignore_index: int = -100) -> Any:
        loss = module.CEWithChunkedOutputLoss(ignore_index=ignore_index)
        chunks = input[None].chunk(loss.num_output_chunks, dim=1)
        return loss(list(chunks), target[None])

    return torchtune_chunked


IMPLEMENTATIONS = (
    from_package(
        "torchtune_chunked",
        load,
        distribution="torchtune",
        requires=("torchtune",),
        lacks=("spatial", "unbatched", "soft_target", "reduction_none", "reduction_sum"),
        divergences={"half_output": "float32"},
        precision="fp32_inside",
        dtypes=("float32", "bfloat16", "float16"),  # "upcast logits to fp32"
        promises=("double_backward", "jvp"),
        url="https://docs.pytorch.org/torchtune/0.6/generated/torchtune.modules.loss.CEWithChunkedOutputLoss.html",
    ),
)
