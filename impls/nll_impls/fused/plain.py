"""The kernels of an engine written in torch, for a compiler to fuse.

``part`` (n, 1) is the probability times weight at the target ``at`` (n, 1), ``share`` (1 or n, c)
that of all classes if there is any; see :mod:`nll_impls.fused.call`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.rows import widened
from .function import Rows, Scalar


def survey(
    index: Tensor, ignore_index: int, classes: int, weight: Tensor | None
) -> tuple[Scalar, int]:
    """The weight of all counted rows, and the first target that is no class (-1: none is).

    A GPU is not waited for: a wrong target there ends the process's use of it, as in PyTorch's
    own loss, and nothing of it is told here.
    """
    kept = index != ignore_index
    wrong = kept & ((index < 0) | (index >= classes))
    if not none_is_wrong(~wrong.any()):
        return 0.0, int(wrong.nonzero()[0])
    counted = kept if weight is None else weight[index.where(kept, 0)].where(kept, 0.0)
    return counted.sum(dtype=torch.float64), -1


def none_is_wrong(right: Tensor) -> bool:
    """Whether ``right`` () holds; a GPU is asked to see to it, and believed."""
    if right.is_cuda:
        torch._assert_async(right, "a target is neither a class nor ignore_index")  # noqa: SLF001 - there is no public way
        return True
    return bool(right)


def as_tensor(value: Scalar, rows: Rows) -> Tensor:
    """A number as a tensor (1,) in float64, where the rows are."""
    if isinstance(value, Tensor):
        return value.reshape(1)
    return torch.full((1,), value, dtype=torch.float64, device=rows.logits.device)


def at_targets(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows count, where their target is and what stands there: (n, 1) each."""
    count = rows.found.shape[1]
    wide = widened(rows.logits.new_empty(())).dtype
    if rows.target is None:
        at = torch.zeros(count, 1, dtype=torch.int64, device=rows.logits.device)
        return at == 0, at, at.to(wide)
    index = rows.target.unsqueeze(1)
    kept = index != rows.ignore_index
    at = index.where(kept, 0)
    each = torch.ones_like(at, dtype=wide) if rows.weight is None else rows.weight[at].to(wide)
    return kept, at, (each * rows.hard).where(kept, 0.0)


def sums(
    logits: Tensor, share: Tensor | None, kept: Tensor, at: Tensor, part: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, total, mass and cross of each row, (n, 1) each."""
    x = widened(logits)
    top = x.amax(1, keepdim=True)
    below = x - top
    total = below.exp().sum(1, keepdim=True)
    mass, cross = part, _product(part, below.gather(1, at))
    if share is not None:
        mass = mass + share.sum(1, keepdim=True)
        cross = cross + _product(share, below).sum(1, keepdim=True)
    return (
        top.where(kept, 0.0),
        total.where(kept, 1.0),
        mass.where(kept, 0.0),
        cross.where(kept, 0.0),
    )


def _product(part: Tensor, distance: Tensor) -> Tensor:
    """A product in which nothing times infinity is nothing."""
    return part * distance.masked_fill((part == 0) & torch.isinf(distance), 0.0)


def fill_gradient(
    logits: Tensor,
    share: Tensor | None,
    kept: Tensor,
    at: Tensor,
    part: Tensor,
    found: tuple[Tensor, Tensor, Tensor],
    pull: Tensor,
    into: Tensor,
) -> None:
    """The gradient of each row times ``pull`` (n, 1); ``found`` are top, total and mass."""
    top, total, mass = found
    p = (widened(logits) - top).exp() / total
    target = torch.arange(logits.shape[1], device=logits.device) == at
    less = part * target if share is None else part * target + share
    into.copy_(((mass * p - less) * pull).where(kept, 0.0))


def sums_and_gradient(
    logits: Tensor,
    share: Tensor | None,
    kept: Tensor,
    at: Tensor,
    part: Tensor,
    pull: Tensor,
    into: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both at once."""
    found = sums(logits, share, kept, at, part)
    fill_gradient(logits, share, kept, at, part, found[:3], pull, into)
    return found
