"""Cross entropy that inductor fuses, on a CPU or a GPU.

One compiled function gives loss and gradient, which PyTorch's own ``torch.compile`` of
``cross_entropy`` spreads over forward and backward.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import plain
from .function import Rows, Scalar, cross_entropy, times
from .memory import fresh

if not (torch.cuda.is_available() or shutil.which(os.environ.get("CXX", "g++"))):
    raise ImportError(
        "fused_compiled needs a C++ compiler on a machine without a GPU: install g++, or name "
        "another compiler in the environment variable CXX"
    )


@cache
def _compiled(name: str) -> Any:
    """A function of :mod:`plain`, compiled once for all sizes when first called."""
    return torch.compile(getattr(plain, name), dynamic=True)


class Inductor:
    """The kernels that inductor makes of :mod:`nll_impls.fused.plain`."""

    asynchronous = False
    survey = staticmethod(plain.survey)
    times = staticmethod(times)

    def loss(self, rows: Rows) -> Tensor:
        """Fill ``rows.found``; the sum of the row losses."""
        _keep(rows, _run("sums", rows))
        return rows.losses().sum()

    def early(self, rows: Rows, gradient: Tensor, pull: Scalar) -> Tensor:
        """The sum of the row losses, and the gradient of each times ``pull``."""
        pulls = plain.as_tensor(pull, rows).expand(rows.found.shape[1])
        _keep(rows, _run("sums_and_gradient", rows, _wide(rows, pulls), _flat(gradient)))
        return rows.losses().sum()

    def late(
        self, rows: Rows, gradient: Tensor, pull: Tensor, unless_one: Tensor | None = None
    ) -> None:
        """The gradient from ``rows.found``, row n times ``pull[n]``."""
        found = tuple(_wide(rows, row) for row in rows.found[:3])
        _run("fill_gradient", rows, found, _wide(rows, pull), _flat(gradient))


ENGINE = Inductor()


def _run(name: str, rows: Rows, *others: Any) -> Any:
    if rows.logits.numel() == 0:
        return ()
    return _compiled(name)(_flat(rows.logits), rows.share, *plain.at_targets(rows), *others)


def _keep(rows: Rows, found: tuple[Tensor, ...]) -> None:
    for row, values in zip(rows.found, found, strict=False):
        row.copy_(values.squeeze(1))


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _wide(rows: Rows, values: Tensor) -> Tensor:
    """One number a row (n,) as (n, 1) in the dtype that is computed in."""
    return values.unsqueeze(1).to(torch.promote_types(rows.logits.dtype, torch.float32))


def fused_compiled(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy, loss and gradient from one function that inductor compiles.

    Called as ``torch.nn.functional.cross_entropy``; logits (C,), (N, C) or (N, C, d1, ...) in
    float32, float64, bfloat16 or float16, on a CPU with a C++ compiler or on a GPU.  The first
    call of a kind takes seconds; after ``torch._dynamo.config.recompile_limit`` kinds PyTorch
    runs the function uncompiled.  Raises as :func:`nll_impls.fused.cpu.fused`.
    """
    options = (ignore_index, reduction, label_smoothing)
    into = fresh if input.device.type == "cpu" else torch.empty_like
    return cross_entropy(input, target, weight, options, into, ENGINE)
