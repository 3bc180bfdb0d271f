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

from . import plain  # noqa: E402
from .function import Rows, cross_entropy  # noqa: E402
from .memory import fresh  # noqa: E402
from .triton_kernels import sweep  # noqa: E402

#: Classes in a block; fewer where there are fewer.
_BLOCK = 4096


class Triton:
    """The kernels of :mod:`nll_impls.fused.triton_kernels`."""

    survey = staticmethod(plain.survey)

    def loss(self, rows: Rows) -> None:
        """Fill ``rows.found``."""
        _launch(rows, None, None, sums=True)

    def early(self, rows: Rows, gradient: Tensor, pull: float) -> Tensor:
        """The sum of the row losses, and the gradient of each times ``pull``."""
        _launch(rows, gradient, torch.full_like(rows.found[0], pull), sums=True)
        return rows.losses().sum()

    def late(self, rows: Rows, gradient: Tensor, pull: Tensor) -> None:
        """The gradient from ``rows.found``, row n times ``pull[n]``."""
        _launch(rows, gradient, pull, sums=False)


ENGINE = Triton()


def _launch(rows: Rows, gradient: Tensor | None, pull: Tensor | None, *, sums: bool) -> None:
    count, classes = rows.found.shape[1], rows.logits.shape[-1]
    if count == 0:
        return
    kept, at, part = plain.at_targets(rows)
    double = rows.logits.dtype == torch.float64
    arguments: dict[str, Any] = {
        "logits": rows.logits,
        "share": part if rows.share is None else rows.share,
        "share_stride": classes if rows.share is not None and len(rows.share) > 1 else 0,
        "kept": kept.to(torch.int8),
        "at_target": at,
        "parts": part,
        "found": rows.found,
        "pull": part if pull is None else pull.to(part.dtype),
        "gradient": rows.logits if gradient is None else gradient,
        "rows": count,
        "classes": classes,
    }
    # The interpreter truncates where a GPU rounds to bfloat16, and NumPy warns of its infinities.
    rounded = gradient
    if _INTERPRETED and gradient is not None and gradient.dtype == torch.bfloat16:
        arguments["gradient"] = rounded = gradient.float()
    with np.errstate(all="ignore"):
        sweep[(count,)](
            **arguments,
            block=min(_BLOCK, triton.next_power_of_2(classes)),
            shared=rows.share is not None,
            wide=tl.float64 if double else tl.float32,
            sums=sums,
            gradients=gradient is not None,
        )
    if gradient is not None and rounded is not None and rounded is not gradient:
        gradient.copy_(rounded)


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
    Raises as :func:`nll_impls.fused.cpu.fused`.
    """
    if input.device.type == "cpu" and not _INTERPRETED:
        raise ValueError("fused_triton runs on a GPU, or everywhere under TRITON_INTERPRET=1")
    options = (ignore_index, reduction, label_smoothing)
    into = fresh if input.device.type == "cpu" else torch.empty_like
    return cross_entropy(input, target, weight, options, into, ENGINE)
