"""Cross entropy on a GPU, in Triton; without one, in Triton's interpreter.

The second pass over a row, which writes the gradient, finds the row in the cache.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

_INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
if not (_INTERPRETED or torch.cuda.is_available()):
    raise ImportError(
        "fused_triton needs a GPU; to try it without one, in Triton's slow interpreter, set the "
        "environment variable TRITON_INTERPRET=1 before Python starts"
    )

import triton  # noqa: E402  (it looks at TRITON_INTERPRET when it is imported)
import triton.language as tl  # noqa: E402

from . import plain  # noqa: E402 - what imports Triton comes after it
from . import triton_kernels as kernels  # noqa: E402 - likewise
from .function import Rows, Scalar, cross_entropy  # noqa: E402 - likewise
from .memory import fresh  # noqa: E402 - likewise

#: Not annotated in torch.
_device_of: Any = torch.cuda.device_of
#: Classes in a block at most; a thread of the largest has 32 of them.
_BLOCK = 16 if _INTERPRETED else 32768
#: Entries in a block at least, so that few kernels are compiled.
_LEAST = 16 if _INTERPRETED else 128
#: Targets that are looked at at a time.
_TARGETS = 4096
#: Entries of a gradient that are scaled at a time, and programs that take turns at it.
_SCALED, _PROGRAMS = 4096, 1024


class Triton:
    """The kernels of :mod:`nll_impls.fused.triton_kernels`."""

    asynchronous = True

    def survey(
        self, index: Tensor, ignore_index: int, classes: int, weight: Tensor | None
    ) -> tuple[Scalar, int]:
        """As :func:`nll_impls.fused.plain.survey`."""
        counted = torch.empty((), dtype=torch.float64, device=index.device)
        if len(index) == 0:
            return counted.zero_(), -1
        right = torch.empty((), dtype=torch.bool, device=index.device)
        with _device_of(index):
            kernels.survey[(1,)](
                index,
                counted if weight is None else weight,
                counted,
                right,
                len(index),
                classes,
                ignore_index,
                block=max(_LEAST, min(_TARGETS, triton.next_power_of_2(len(index)))),
                weighted=weight is not None,
                num_warps=8,
            )
        if plain.none_is_wrong(right):
            return counted, -1
        return plain.survey(index, ignore_index, classes, weight)

    def loss(self, rows: Rows) -> Tensor:
        """Fill ``rows.found``; the sum of the row losses."""
        _launch(rows, None, None, sums=True)
        return rows.losses().sum()

    def early(self, rows: Rows, gradient: Tensor, pull: Scalar) -> Tensor:
        """The sum of the row losses, and the gradient of each times ``pull``."""
        _launch(rows, gradient, plain.as_tensor(pull, rows), sums=True)
        return rows.found[3].sum()

    def late(
        self, rows: Rows, gradient: Tensor, pull: Tensor, unless_one: Tensor | None = None
    ) -> None:
        """The gradient from ``rows.found``, row n times ``pull[n]``."""
        _launch(rows, gradient, pull, sums=False, unless_one=unless_one)

    def times(self, gradient: Tensor, factor: Tensor) -> None:
        """Multiply ``gradient`` by ``factor`` () in place; nothing is written if that is 1."""
        size = gradient.numel()
        if size == 0:
            return
        programs = min(_PROGRAMS, triton.cdiv(size, _SCALED))
        with np.errstate(all="ignore"), _device_of(gradient):
            kernels.times[(programs,)](gradient, factor, size, block=_SCALED)


ENGINE = Triton()


def _launch(
    rows: Rows,
    gradient: Tensor | None,
    pull: Tensor | None,
    *,
    sums: bool,
    unless_one: Tensor | None = None,
) -> None:
    count, classes = rows.found.shape[1], rows.logits.shape[-1]
    if count == 0:
        return
    double = rows.logits.dtype == torch.float64
    most = _BLOCK // 2 if double else _BLOCK
    block = max(_LEAST, min(most, triton.next_power_of_2(classes)))
    arguments = _arguments(rows, gradient, pull, unless_one)
    # The interpreter truncates where a GPU rounds to bfloat16, and NumPy warns of its infinities.
    rounded = gradient
    if _INTERPRETED and gradient is not None and gradient.dtype == torch.bfloat16:
        arguments["gradient"] = rounded = gradient.float()
    with np.errstate(all="ignore"), _device_of(rows.logits):
        kernels.sweep[(count,)](
            **arguments,
            rows=count,
            classes=classes,
            ignore_index=rows.ignore_index,
            block=block,
            whole=classes <= block,
            wide=tl.float64 if double else tl.float32,
            sums=sums,
            num_warps=max(1, min(32, block // 512)),
        )
    if gradient is not None and rounded is not None and rounded is not gradient:
        gradient.copy_(rounded)


def _arguments(
    rows: Rows, gradient: Tensor | None, pull: Tensor | None, unless_one: Tensor | None
) -> dict[str, Any]:
    """Tensors, and which of them there are: nobody follows the pointers to others."""
    nothing = rows.found
    labelled, shared = rows.target is not None, rows.share is not None
    return {
        "logits": rows.logits,
        "target": rows.target if labelled else nothing,
        "weight": nothing if rows.weight is None else rows.weight,
        "share": rows.share if shared else nothing,
        "hard": plain.as_tensor(rows.hard, rows) if labelled and shared else nothing,
        "found": rows.found,
        "pull": nothing if pull is None else pull,
        "unless_one": nothing if unless_one is None else unless_one,
        "gradient": rows.logits if gradient is None else gradient,
        "labelled": labelled,
        "weighted": rows.weight is not None,
        "shared": shared,
        "each_share": rows.share is not None and len(rows.share) > 1,
        "each_pull": pull is not None and pull.numel() > 1,
        "skips": unless_one is not None,
        "gradients": gradient is not None,
    }


def fused_triton(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy whose gradient is found beside the loss, by a Triton kernel.

    Called as ``torch.nn.functional.cross_entropy``; logits (C,), (N, C) or (N, C, d1, ...) in
    float32, float64, bfloat16 or float16, on a GPU, or anywhere in Triton's interpreter.
    Raises as :func:`nll_impls.fused.cpu.fused`; but a target that is no class fails an assertion
    on the GPU, as it does in PyTorch's own loss.
    """
    if input.device.type == "cpu" and not _INTERPRETED:
        raise ValueError("fused_triton runs on a GPU, or everywhere under TRITON_INTERPRET=1")
    options = (ignore_index, reduction, label_smoothing)
    into = fresh if input.device.type == "cpu" else torch.empty_like
    return cross_entropy(input, target, weight, options, into, ENGINE)
