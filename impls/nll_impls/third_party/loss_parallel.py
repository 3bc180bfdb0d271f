"""PyTorch's ``loss_parallel``: cross entropy of a DTensor sharded on its classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

    from ..ranks.rank import RankLoss


def load() -> Callable[..., Any]:
    """The loss on process groups of one to four ranks."""
    from ..ranks.caller import on_ranks

    on_some = on_ranks(f"{__name__}:prepare", at_once=True)

    def torch_loss_parallel(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ranks: int = 2,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Any:
        return on_some(
            input, target, weight, ranks=ranks, ignore_index=ignore_index, reduction=reduction
        )

    return torch_loss_parallel


def prepare() -> Callable[[], RankLoss]:
    """What a rank computes, once it has joined: ``F.cross_entropy`` of its part of a DTensor."""
    import torch
    from torch._subclasses import FakeTensorMode
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard
    from torch.distributed.tensor.parallel import loss_parallel
    from torch.nn import functional

    from ..ranks.nursery import WORLD
    from ..ranks.rank import RankLoss

    # DTensor asks fake tensors for the shapes of results, which takes a second the first time.
    with FakeTensorMode():
        functional.cross_entropy(torch.zeros(2, 3, requires_grad=True), torch.zeros(2).long())
    meshes: dict[int, DeviceMesh] = {}

    def join() -> RankLoss:
        for count in range(1, WORLD + 1):
            meshes[count] = DeviceMesh("cpu", list(range(count)))
        return RankLoss(call, around=loss_parallel)

    def call(
        shard: Tensor,
        target: Tensor,
        weight: Tensor | None,
        *,
        ranks: int,
        classes: int,
        axis: int,
        **options: Any,
    ) -> Tensor:
        mesh = meshes[ranks]
        shape = list(shard.shape)
        shape[axis] = classes
        whole = torch.empty(shape, device="meta")
        logits = DTensor.from_local(
            shard, mesh, [Shard(axis)], run_check=False, shape=whole.shape, stride=whole.stride()
        )
        loss: Any = functional.cross_entropy(logits, target, weight=weight, **options)
        local: Tensor = loss.to_local()
        return local

    return join


IMPLEMENTATIONS = (
    from_package(
        "torch_loss_parallel",
        load,
        family="vocab_parallel_cross_entropy",
        distribution="torch",
        requires=("torch",),
        # Not documented; it raises, and leaves the other ranks waiting (see the findings; of
        # empty batches those of images without positions do).
        lacks=("empty_shards", "empty_batch"),
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        devices=("cpu",),
        url="https://docs.pytorch.org/docs/2.13/distributed.tensor.parallel.html",
    ),
)
