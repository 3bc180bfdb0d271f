"""Partial log-sum-exps, joined pair by pair."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._declare import COMPOSED, variant
from ._engine import by_hand, composed, finite


def _block_chain(x: Tensor) -> tuple[Tensor, Tensor]:
    blocks = torch.split(x, 128, 1)
    log_sum: Tensor = blocks[0].logsumexp(1, keepdim=True)
    for block in blocks[1:]:
        log_sum = torch.logaddexp(log_sum, block.logsumexp(1, keepdim=True))
    # By hand, for autograd makes NaN of a block that is -inf throughout.
    log_p = x - log_sum
    return log_p, log_p.exp()


def _tree(x: Tensor) -> tuple[Tensor, Tensor]:
    level = x
    while level.shape[1] > 1:
        half = level.shape[1] // 2
        joined = torch.logaddexp(level[:, :half], level[:, half : 2 * half])
        level = torch.cat([joined, level[:, 2 * half :]], 1)
    log_p = x - level
    return log_p, log_p.exp()


def _cumulative(x: Tensor) -> tuple[Tensor, Tensor]:
    shifted = x - x.amax(1, keepdim=True)
    log_p = shifted - shifted.logcumsumexp(1)[:, -1:]
    return log_p, log_p.exp()


def _vocabulary_parallel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Four shards with a maximum and a sum each, then one exchange of both."""
    shards = torch.split(x, -(-x.shape[1] // 4), 1)
    tops = torch.cat([shard.amax(1, keepdim=True) for shard in shards], 1)
    sums = torch.cat(
        [
            (shard - finite(top)).exp().sum(1, keepdim=True)
            for shard, top in zip(shards, torch.split(tops, 1, 1), strict=True)
        ],
        1,
    )
    top = tops.amax(1, keepdim=True)
    s = (sums * (tops - top).exp()).sum(1, keepdim=True)
    return (x - top) - s.log(), (x - top).exp() / s


def _padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of whole blocks of 64, the tail at -inf."""
    classes = x.shape[1]
    wide = torch.nn.functional.pad(x, (0, -classes % 64), value=-torch.inf)
    log_p = wide.log_softmax(1)
    return log_p[:, :classes], log_p.exp()[:, :classes]


def _columns(x: Tensor) -> Tensor:
    """Classes first in memory: each column is a sample."""
    return x.t().contiguous().log_softmax(0).t()


class _Others(torch.autograd.Function):
    """Log-probabilities whose gradient at the target is minus the others', added in a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        log_p = x.log_softmax(1)
        ctx.save_for_backward(log_p.exp())
        return log_p

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        asked = grad != 0
        others = p.masked_fill(asked, 0.0).cumsum(1)[:, -1:]
        whole = grad - p * grad.sum(1, keepdim=True)
        return torch.where(asked & (asked.sum(1, keepdim=True) == 1), grad * others, whole)


block_chain = by_hand(_block_chain)
log_add_exp_tree = by_hand(_tree)
cumulative = by_hand(_cumulative)
vocabulary_parallel = by_hand(_vocabulary_parallel)
padded_blocks = by_hand(_padded)
classes_first = composed(_columns)
others_summed = composed(_Others.apply)

IMPLEMENTATIONS = (
    variant(__name__, "block_chain"),
    variant(__name__, "log_add_exp_tree"),
    variant(__name__, "cumulative", max_elements=40_000),
    variant(__name__, "vocabulary_parallel"),
    variant(__name__, "padded_blocks"),
    variant(__name__, "others_summed"),
    variant(__name__, "classes_first", promises=(*COMPOSED, "vmap")),
)
