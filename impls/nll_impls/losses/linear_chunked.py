"""A few rows at a time: logits exist for one chunk only, in forward and again in backward.

Kept between the two are the arguments alone.  Chunks add up in at least float32, and each
gradient is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .rows import Rows, widened

#: Small enough that ordinary inputs take several chunks, the last of them ragged.
ROWS = 16
#: No input takes more chunks than this.
CHUNKS = 256


def _wide(*tensors: Tensor | None) -> list[Any]:
    """Tensors in one dtype of at least 32 bits."""
    given = [widened(tensor) for tensor in tensors if tensor is not None]
    dtype = given[0].dtype
    for tensor in given[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]


def _losses(rows: Rows) -> Tensor:
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    return rows.losses(log_probabilities, torch.neg)


class RowLosses(torch.autograd.Function):
    """Row losses (n,) of hidden states (n, h); ``shell`` tells options and kept rows."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, shell: Rows) -> Tensor:
        """One chunk of logits after the other."""
        # the weight too: autograd then notices if it is changed before backward
        ctx.save_for_backward(hidden, head, bias, shell.weight)
        ctx.shell = shell
        with torch.autocast(hidden.device.type, enabled=False):
            chunks = [_losses(rows) for _, rows in _chunks(shell, *_wide(hidden, head, bias))]
        return torch.cat(chunks) if chunks else hidden.new_zeros(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The logits again; their gradient goes through the head chunk by chunk."""
        *given, _ = ctx.saved_tensors
        hidden, head, bias = _wide(*given)
        grads = [torch.zeros_like(tensor) for tensor in (hidden, head)]
        to_hidden, to_head = grads
        to_bias = head.new_zeros(head.shape[0])
        for part, rows in _chunks(ctx.shell, hidden, head, bias):
            logits = rows.logits.requires_grad_()
            with torch.enable_grad():
                losses = _losses(rows)
            (pull,) = torch.autograd.grad(losses, logits, upstream[part].to(losses.dtype))
            to_hidden[part] = pull @ head
            to_head += pull.T @ hidden[part]
            to_bias += pull.sum(0)
        found = (to_hidden, to_head, to_bias)
        return *_as_given(found, given), None


def _as_given(grads: tuple[Tensor, ...], given: list[Tensor | None]) -> list[Tensor | None]:
    pairs = zip(grads, given, strict=True)
    return [None if tensor is None else grad.to(tensor.dtype) for grad, tensor in pairs]


def _chunks(
    shell: Rows, hidden: Tensor, head: Tensor, bias: Tensor | None
) -> Iterator[tuple[slice, Rows]]:
    """Slices of the rows with their logits; ``shell`` brings everything but the logits."""
    start = 0
    size = max(ROWS, math.ceil(shell.kept.numel() / CHUNKS))
    for rows in shell.split(size):
        part = slice(start, start + rows.kept.numel())
        logits = functional.linear(hidden[part], head, bias).detach()
        yield part, rows.with_logits(logits)
        start = part.stop


def loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of hidden states (n, h) under a head (c, h) and a bias (c,)."""
    classes, size = linear_weight.shape
    if input.shape[-1] != size:
        raise ValueError(f"hidden states of size {input.shape[-1]} for a head of size {size}")
    if linear_bias is not None and linear_bias.shape != (classes,):
        raise ValueError(f"bias has shape {tuple(linear_bias.shape)} for {classes} classes")
    # one number seen everywhere: the shape that the rows' checks ask for, in no memory
    outline = widened(input.new_zeros(())).expand(*input.shape[:-1], classes)
    options = (weight, ignore_index, reduction, label_smoothing)
    rows = replace(Rows.of(outline, target, *options, blank=False).wide(), dtype=input.dtype)
    hidden = torch.where(rows.kept.unsqueeze(-1), input, 0.0).reshape(-1, size)
    losses = RowLosses.apply(hidden, linear_weight, linear_bias, rows)  # type: ignore[no-untyped-call]
    return rows.reduced(losses.reshape(rows.kept.shape))
