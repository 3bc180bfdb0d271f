"""Projection and cross entropy in one: all logits never exist at once.

A sixteenth of the rows is projected at a time, in at least float32, and its gradient written
over its logits (see :mod:`nll_impls.fused.cpu`), from where it goes on to hidden states, head
and bias.  A 16-bit head is widened a block of classes at a time.  Gradients add up in at least
float32 and are rounded once.

Chunks of classes alone would need every logit twice, for a third more arithmetic, and save
memory only where there are fewer rows than chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..losses.rows import widened
from .cpu import ENGINE
from .function import Rows, graph_is_kept, refuse_second_derivative

#: No input takes more chunks of rows than this.
CHUNKS = 16
#: Nor are there fewer rows than this in a chunk, but in the last.
ROWS = 4
#: Classes of a 16-bit head that are widened at a time.
CLASSES = 4096

Grads = tuple[Tensor, Tensor, Tensor | None]


class _FusedLinear(torch.autograd.Function):
    """The reduced loss of hidden states (n, h), a head (c, h) and a bias (c,).

    ``rows`` tells targets and options, ``watched`` the tensors that it has from the caller.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        bias: Tensor | None,
        rows: Rows,
        reduction: str,
        watched: tuple[Tensor | None, ...],
    ) -> Tensor:
        """One chunk after the other; its share of the gradients too, if they can be known."""
        given = (hidden, head, bias)
        ctx.rows, ctx.early = rows, reduction != "none"
        if ctx.early and any(ctx.needs_input_grad[:3]):
            grads = _zeros(*given)
            losses = torch.zeros((), dtype=torch.float64, device="cpu")
            for part, chunk in _chunks(rows, *given):
                losses += ENGINE.early(chunk, chunk.logits, rows.factor(reduction))
                _add(grads, part, chunk.logits, hidden, head)
            ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in given]
            ctx.save_for_backward(*grads)
        else:
            for _, chunk in _chunks(rows, *given):
                ENGINE.loss(chunk)
            losses = rows.losses()
            ctx.save_for_backward(*given, *watched)
        return rows.reduced(reduction, losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of forward, scaled; or all chunks again, each row scaled by its own."""
        refuse_second_derivative()
        if ctx.early:
            grads = ctx.saved_tensors
            if graph_is_kept():
                grads = [None if g is None else g * upstream for g in grads]
            elif upstream.item() != 1.0:
                grads = [None if g is None else g.mul_(upstream) for g in grads]
            dtypes = ctx.dtypes
        else:
            given = ctx.saved_tensors[:3]
            grads = _zeros(*given)
            pull = upstream.double().contiguous()
            for part, chunk in _chunks(ctx.rows, *given):
                ENGINE.late(chunk, chunk.logits, pull[part])
                _add(grads, part, chunk.logits, *given[:2])
            dtypes = [None if tensor is None else tensor.dtype for tensor in given]
        pairs = zip(grads, dtypes, strict=True)
        return *(None if g is None else g.to(dtype) for g, dtype in pairs), None, None, None


def _zeros(hidden: Tensor, head: Tensor, bias: Tensor | None) -> Grads:
    """Where gradients add up, in at least float32."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    to_bias = None if bias is None else torch.zeros(bias.shape, dtype=dtype, device="cpu")
    to_hidden, to_head = (torch.zeros(t.shape, dtype=dtype, device="cpu") for t in (hidden, head))
    return to_hidden, to_head, to_bias


def _chunks(
    rows: Rows, hidden: Tensor, head: Tensor, bias: Tensor | None
) -> Iterator[tuple[slice, Rows]]:
    """Slices of the rows, with their logits in memory that the next chunk takes over."""
    total = len(hidden)
    size = max(ROWS, math.ceil(total / CHUNKS))
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    memory = torch.empty(min(size, total), len(head), dtype=dtype, device="cpu")
    for start in range(0, total, size):
        part = slice(start, min(start + size, total))
        logits = memory[: part.stop - part.start]
        with torch.autocast("cpu", enabled=False):
            _project(widened(hidden[part]), head, bias, logits)
        share = rows.share
        yield (
            part,
            replace(
                rows,
                logits=logits,
                target=None if rows.target is None else rows.target[part],
                share=share[part] if share is not None and rows.target is None else share,
                found=rows.found[:, part],
            ),
        )


def _blocks(head: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The head in at least float32: whole, or a block of classes at a time."""
    size = CLASSES if head.dtype in (torch.float16, torch.bfloat16) else max(1, len(head))
    for start in range(0, len(head), size):
        part = slice(start, start + size)
        yield part, widened(head[part])


def _project(hidden: Tensor, head: Tensor, bias: Tensor | None, logits: Tensor) -> None:
    for part, block in _blocks(head):
        torch.mm(hidden, block.T, out=logits[:, part])
    if bias is not None:
        logits += bias


def _add(grads: Grads, part: slice, pull: Tensor, hidden: Tensor, head: Tensor) -> None:
    """What the gradient of a chunk's logits adds to those of hidden states, head and bias."""
    to_hidden, to_head, to_bias = grads
    states = widened(hidden[part])
    with torch.autocast("cpu", enabled=False):
        for classes, block in _blocks(head):
            to_hidden[part].addmm_(pull[:, classes], block)
            to_head[classes].addmm_(pull[:, classes].T, states)
    if to_bias is not None:
        to_bias += pull.sum(0)


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def fused_linear(
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
    """Cross entropy of hidden states (N, H) or (H,) under a head (C, H) and a bias (C,).

    Called as ``torch.nn.functional.linear_cross_entropy``, all tensors on the CPU and hidden
    states, head and bias of one dtype.  The memory it takes is a sixteenth of the logits (at
    least four rows) and the gradients, those of 16-bit tensors in float32 until backward.
    Raises ValueError, TypeError or IndexError on a call that makes no sense, and RuntimeError on
    a second derivative or one by class probabilities.
    """
    classes, size = linear_weight.shape
    if input.shape[-1] != size:
        raise ValueError(f"hidden states of size {input.shape[-1]} for a head of size {size}")
    if linear_bias is not None and linear_bias.shape != (classes,):
        raise ValueError(f"bias has shape {tuple(linear_bias.shape)} for {classes} classes")
    dtypes = {t.dtype for t in (input, linear_weight, linear_bias) if t is not None}
    if len(dtypes) > 1:
        raise TypeError(f"hidden states, head and bias are of one dtype, not {dtypes}")
    if target.requires_grad and torch.is_grad_enabled():
        raise RuntimeError("fused_linear has no gradient for class probabilities")
    # one number seen C times: the shape that the rows' checks ask for, in no memory
    outline = widened(input.detach()).new_zeros(()).expand(*input.shape[:-1], classes)
    if input.device.type != "cpu":
        raise ValueError(f"this loss runs on the CPU; the hidden states are on {input.device}")
    options = (ignore_index, reduction, label_smoothing)
    rows = Rows.of(outline, target, weight, *options, ENGINE)
    # whatever stands in ignored rows, NaN times zero must not reach the head
    hidden = input.reshape(-1, size)
    if rows.target is not None:
        hidden = torch.where((rows.target != ignore_index).unsqueeze(-1), hidden, 0.0)
    given = (hidden, linear_weight, linear_bias)
    if not torch.is_grad_enabled():
        # autograd tells a function what requires grad, not whether anybody will ask
        given = (hidden.detach(), linear_weight.detach(), _detached(linear_bias))
    loss: Tensor = _FusedLinear.apply(*given, rows, reduction, (target, weight))  # type: ignore[no-untyped-call]
    return loss.reshape(input.shape[:-1] if reduction == "none" else ()).to(input.dtype)
