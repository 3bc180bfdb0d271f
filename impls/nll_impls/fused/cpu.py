"""Cross entropy on a CPU, its gradient found in the sweep that finds the loss.

Each row is read once from memory: exponentials of a block of classes, shifted by the maximum of an
earlier block or row if that will do, are left where the gradient will be, and scaled when the
row's sum is known.  Over the logits themselves there is no second try, and the maximum of a block
is taken first, which brings it into the first cache.  So memory sees one read and one write, which
is what copying the logits costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import long, short
from .call import CALL
from .function import Into, Options, Rows, Scalar, cross_entropy, times
from .late import late_kernel
from .loops import BLOCK, survey
from .memory import Buffer, fresh
from .threads import run

#: Rows are taken by the threads in at most so many portions, enough for a hindered thread not to
#: delay the others.  Losses add up by portions, so that the number of threads changes no result.
_PORTIONS = 256
#: Logits in a portion, at least: the first row of each is asked for its maximum.
_PORTION = 8192


class CPU:
    """The kernels that Numba compiles."""

    asynchronous = False
    times = staticmethod(times)

    def survey(
        self, index: Tensor, ignore_index: int, classes: int, weight: Tensor | None
    ) -> tuple[float, int]:
        """The weight of all counted rows, and the first target that is no class (-1: none)."""
        weights = np.empty(0) if weight is None else weight.numpy()
        counted, wrong = survey(index.numpy(), ignore_index, classes, weights)
        return float(counted), int(wrong)

    def loss(self, rows: Rows) -> Tensor:
        """Fill ``rows.found``; the sum of the row losses."""
        sums = _no_sums()
        _sweep(_of(rows).loss_kernel, rows, sums=sums)
        return sums.sum()

    def early(self, rows: Rows, gradient: Tensor, pull: Scalar) -> Tensor:
        """The sum of the row losses, and the gradient of each times ``pull``."""
        sums = _no_sums()
        pulls = torch.tensor([float(pull)], dtype=torch.float64, device="cpu")
        _sweep(_of(rows).early_kernel, rows, gradient, pulls, sums)
        return sums.sum()

    def late(
        self, rows: Rows, gradient: Tensor, pull: Tensor, unless_one: Tensor | None = None
    ) -> None:
        """The gradient from ``rows.found``, row n times ``pull[n]``."""
        _sweep(late_kernel, rows, gradient, pull)


ENGINE = CPU()


def _of(rows: Rows) -> Any:
    """The kernels for rows of this length."""
    plain = rows.target is not None and rows.share is None
    return short if plain and rows.logits.shape[-1] <= BLOCK else long


def _no_sums() -> Tensor:
    return torch.zeros(_PORTIONS, dtype=torch.float64, device="cpu")


def _sweep(
    kernel: Any,
    rows: Rows,
    gradient: Tensor | None = None,
    pull: Tensor | None = None,
    sums: Tensor | None = None,
) -> None:
    """One sweep of a kernel, which ``kernel`` gives for a dtype, over all rows."""
    count = rows.found.shape[1]
    if count == 0:
        return
    call: Any = np.zeros(1, CALL)
    call["rows"], call["classes"] = count, rows.logits.shape[-1]
    least = -(-_PORTION // max(1, rows.logits.shape[-1]))
    call["rows_at_once"] = max(least, -(-count // _PORTIONS))
    call["ignore_index"], call["hard"] = rows.ignore_index, rows.hard
    tensors = {
        "logits": rows.logits,
        "target": rows.target,
        "weight": rows.weight,
        "share": rows.share,
        "gradient": gradient,
        "pull": pull,
        "sums": sums,
        "found": rows.found,
    }
    for name, tensor in tensors.items():
        call[name] = 0 if tensor is None else tensor.data_ptr()
    call["found_stride"] = rows.found.stride(0)
    if rows.share is not None and len(rows.share) > 1:
        call["share_stride"] = rows.share.shape[1]
    dtype = str(rows.logits.dtype).removeprefix("torch.")
    run(kernel(dtype), call.ctypes.data)


def fused(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy whose gradient takes fresh memory, and no time beside forward.

    Called as ``torch.nn.functional.cross_entropy``; logits (C,), (N, C) or (N, C, d1, ...) in
    float32, float64, bfloat16 or float16 on a CPU.  16-bit logits are computed in float32 and
    loss and gradient rounded once.  Raises ValueError, TypeError or IndexError on a call that
    makes no sense, and RuntimeError on a second derivative.
    """
    return _loss(input, target, weight, (ignore_index, reduction, label_smoothing), fresh)


def fused_inplace(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The same; the gradient is written over the logits, which are lost.

    They are overwritten only if they require grad, under "none" and for 16-bit logits in
    backward.  A leaf that requires grad is refused.  So is, with RuntimeError in its backward,
    whatever else is differentiated through these logits and would have to read them again;
    and ``torch.autograd.grad(loss, logits)``, for autograd takes them for another tensor now:
    ask for the gradient of what they were computed from.
    """
    return _loss(input, target, weight, (ignore_index, reduction, label_smoothing), None)


class FusedWorkspace:
    """The same as :func:`fused`; the gradient is written into a buffer that is used again.

    ``loss = FusedWorkspace(buffer)`` is called as ``torch.nn.functional.cross_entropy`` is.
    ``buffer`` is a contiguous tensor on the CPU of at least the logits' size in bytes; without
    one, or where it is too small, memory is taken once and kept.  A gradient that somebody
    still holds, in ``.grad`` say, is never overwritten: the next call then takes new memory,
    as slowly as :func:`fused`.  So let go of gradients before the next call
    (``optimizer.zero_grad()`` does), or pass logits that are no leaf.
    """

    def __init__(self, buffer: Tensor | None = None) -> None:
        self._into = Buffer(buffer)

    def __call__(
        self,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Cross entropy of logits (C,), (N, C) or (N, C, d1, ...)."""
        return _loss(input, target, weight, (ignore_index, reduction, label_smoothing), self._into)


#: One for the process.
fused_workspace = FusedWorkspace()


def _loss(
    input: Tensor, target: Tensor, weight: Tensor | None, options: Options, into: Into | None
) -> Tensor:
    if input.device.type != "cpu":
        raise ValueError(f"this loss runs on the CPU; the logits are on {input.device}")
    return cross_entropy(input, target, weight, options, into, ENGINE)
