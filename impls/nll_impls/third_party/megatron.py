"""Megatron-Core: the cross entropy whose classes are split over tensor-parallel ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

    from ..ranks.rank import RankLoss


def load() -> Callable[..., Any]:
    """``vocab_parallel_cross_entropy`` on process groups of one to four ranks."""
    from ..ranks.caller import on_ranks

    on_some = on_ranks(f"{__name__}:prepare", at_once=True)

    def megatron(
        input: Tensor,
        target: Tensor,
        ranks: int = 2,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        if reduction not in ("none", "sum", "mean"):
            raise ValueError(f"unknown reduction {reduction!r}")
        return on_some(
            input, target, ranks=ranks, reduction=reduction, label_smoothing=label_smoothing
        )

    return megatron


def prepare() -> Callable[[], RankLoss]:
    """What a rank computes, once it has joined: the losses of the rows, reduced by PyTorch."""
    import torch.distributed as dist
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import vocab_parallel_cross_entropy

    from ..ranks.nursery import WORLD
    from ..ranks.rank import RankLoss

    groups: dict[int, Any] = {}

    def join() -> RankLoss:
        for count in range(1, WORLD + 1):
            groups[count] = dist.new_group(list(range(count)))
        return RankLoss(call)

    def call(
        shard: Tensor,
        target: Tensor,
        weight: Tensor | None,
        *,
        ranks: int,
        reduction: str,
        label_smoothing: float,
        **shape: Any,
    ) -> Tensor:
        # What initialize_model_parallel sets; the size of the group is that of a job.
        parallel_state._TENSOR_MODEL_PARALLEL_GROUP = groups[ranks]  # noqa: SLF001 - set by nothing else
        losses: Tensor = vocab_parallel_cross_entropy(shard, target, label_smoothing)
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.mean()

    return join


IMPLEMENTATIONS = (
    from_package(
        "megatron",
        load,
        family="vocab_parallel_cross_entropy",
        distribution="megatron-core",
        requires=("megatron.core",),
        lacks=("spatial", "unbatched", "uneven_shards", "empty_shards", "ignore_minus_100"),
        divergences={"half_output": "float32", "smoothed_over": "others"},
        precision="fp32_inside",
        dtypes=("float32", "bfloat16", "float16"),
        devices=("cpu",),
        url="https://docs.nvidia.com/megatron-core/developer-guide/latest/apidocs/core/core.tensor_parallel.cross_entropy.html",
    ),
)
