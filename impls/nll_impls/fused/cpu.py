"""Cross entropy on a CPU, its gradient found in the sweep that finds the loss.

Each row is read once from memory: the maximum of a block of classes and its exponentials are
taken while the block is in the first cache, and the exponentials, left where the gradient will
be, are scaled when the row's sum is known.  So memory sees one read and one write, which is
what copying the logits costs.

Where the gradient cannot be known before backward, because each row has an upstream gradient
of its own (reduction "none"), or could not be scaled without rounding it twice (16-bit logits),
forward finds the loss alone and backward reads the logits again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..losses.rows import checked, classes_last, scaled, widened
from .kernels import CALL, early_kernel, late_kernel, loss_kernel, survey
from .memory import Buffer, fresh
from .threads import run

#: Gives memory for a contiguous tensor like the given one.
Into = Callable[[Tensor], Tensor]
#: Dtypes in which scaling the gradient afterwards rounds no more than computing it does.
EARLY = (torch.float32, torch.float64)
#: How many portions of rows each thread takes, so that a hindered one does not delay the others.
_PORTIONS = 16


@dataclass
class Rows:
    """The rows of a call as the kernels take them; ``n`` rows of ``c`` classes."""

    logits: Tensor  #: (*rows, c), contiguous when a kernel runs
    target: Tensor | None  #: (n,) int64; none if the target is probabilities
    ignore_index: int
    weight: Tensor | None  #: (c,) float64
    share: Tensor | None  #: (1, c) or (n, c), in the dtype that is computed in
    hard: float
    counted: float  #: what the mean divides by
    found: Any  #: top, total, mass and cross, (4, n) float64

    @classmethod
    def of(
        cls,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        ignore_index: int,
        reduction: str,
        label_smoothing: float,
    ) -> Rows:
        """The rows of a call; ValueError, TypeError or IndexError if it makes no sense."""
        if input.device.type != "cpu":
            raise ValueError(f"this loss runs on the CPU; the logits are on {input.device}")
        args = (weight, ignore_index, reduction, label_smoothing)
        logits, labels = checked(input, target, *args)
        classes = logits.shape[-1]
        if weight is not None:
            weight = weight.detach().to(torch.float64).contiguous()
        wide = torch.float64 if input.dtype == torch.float64 else torch.float32
        share = None
        if label_smoothing != 0.0 or labels.is_floating_point():
            each = torch.ones((), dtype=torch.float64) if weight is None else weight
            share = (each * (label_smoothing / classes)).expand(1, classes)
            if labels.is_floating_point():
                given = labels.reshape(-1, classes)
                share = torch.addcmul(share, each, given.double(), value=1.0 - label_smoothing)
            share = share.to(wide).contiguous()
        rows = labels.numel() // classes if labels.is_floating_point() else labels.numel()
        counted = float(rows)
        index = None
        if not labels.is_floating_point():
            index = labels.reshape(-1).contiguous()
            counted = _surveyed(index, ignore_index, classes, weight)
        return cls(
            logits=logits,
            target=index,
            ignore_index=ignore_index,
            weight=weight,
            share=share,
            hard=0.0 if index is None else 1.0 - label_smoothing,
            counted=counted,
            found=np.empty((4, rows)),
        )

    def run(self, kernel: Any, gradient: Tensor | None = None, pull: Any = None) -> None:
        """One sweep of a kernel, which ``kernel`` gives for a dtype, over all rows."""
        rows = self.found.shape[1]
        if rows == 0:
            return
        call = np.zeros(1, CALL)
        call["rows"], call["classes"] = rows, self.logits.shape[-1]
        call["rows_at_once"] = 1 + rows // (_PORTIONS * torch.get_num_threads())
        call["ignore_index"], call["hard"] = self.ignore_index, self.hard
        for name in ("logits", "target", "weight", "share"):
            tensor = getattr(self, name)
            call[name] = 0 if tensor is None else tensor.data_ptr()
        if self.share is not None and len(self.share) > 1:
            call["share_stride"] = self.share.shape[1]
        call["top"], call["total"], call["mass"], call["cross"] = (
            row.ctypes.data for row in self.found
        )
        call["gradient"] = 0 if gradient is None else gradient.data_ptr()
        call["pull"] = 0 if pull is None else pull.ctypes.data
        dtype = str(self.logits.dtype).removeprefix("torch.")
        run(kernel(dtype), call.ctypes.data)

    def losses(self) -> Tensor:
        """Row losses (n,) in float64, from what a sweep has found."""
        _, total, mass, cross = torch.from_numpy(self.found)
        losses: Tensor = total.log().mul_(mass).sub_(cross)
        return losses

    def reduced(self, reduction: str, shape: torch.Size) -> Tensor:
        """The result of the call, rows of that shape, in float64."""
        losses = self.losses()
        if reduction == "none":
            return losses.reshape(shape)
        total = losses.sum()
        return total / self.counted if reduction == "mean" else total

    def factor(self, reduction: str) -> float:
        """What the reduction multiplies each row's gradient by."""
        if reduction != "mean":
            return 1.0
        return 1.0 / self.counted if self.counted else float("inf")


def _surveyed(index: Tensor, ignore_index: int, classes: int, weight: Tensor | None) -> float:
    weights = np.empty(0) if weight is None else weight.numpy()
    counted, wrong = survey(index.numpy(), ignore_index, classes, weights)
    if wrong >= 0:
        raise IndexError(
            f"target {int(index[wrong])} of row {wrong} is neither a class (0 to {classes - 1}) "
            f"nor ignore_index ({ignore_index})"
        )
    return float(counted)


class _Overwritten(torch.autograd.Function):
    """Marks logits that a loss has overwritten, so that nobody takes them for logits.

    What had saved them before finds their version changed; what differentiates through them
    afterwards ends here.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """The logits, marked as changed; RuntimeError if they are a leaf that requires grad."""
        ctx.mark_dirty(logits)
        return logits

    @staticmethod
    def backward(*_: Any) -> Tensor:
        """Refuse."""
        raise RuntimeError(
            "these logits were given to fused_inplace, which writes their gradient over them; "
            "use them before the loss, or another loss"
        )


class _Fused(torch.autograd.Function):
    """The reduced loss of a call; ``options`` are those of the call, by position.

    ``into`` gives the memory for a gradient, or is None: then it goes over the logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: tuple[int, str, float],
        into: Into | None,
    ) -> Tensor:
        """One sweep over the rows: for the loss alone, or for loss and gradient."""
        _, reduction, label_smoothing = options
        rows = Rows.of(input, target, weight, *options)
        rows.logits = rows.logits.contiguous()
        by_input, by_target = ctx.needs_input_grad[:2]
        if by_input and into is None:
            with torch.enable_grad():
                _Overwritten.apply(input)  # type: ignore[no-untyped-call]
        ctx.rows, ctx.into = rows, into
        ctx.early = reduction != "none" and input.dtype in EARLY
        ctx.factor, ctx.target_dtype = rows.factor(reduction), target.dtype
        # target and weight are saved where backward reads them: a change is then noticed
        saved = [None, None, None if ctx.early else target, None if ctx.early else weight]
        if by_target:
            saved[1] = _target_gradient(rows, weight, label_smoothing)
        if by_input and ctx.early:
            gradient = _place(rows.logits, input, into)
            rows.run(early_kernel, gradient, np.array([ctx.factor]))
            saved[0] = _delivered(gradient, input, into)
        else:
            rows.run(loss_kernel)
            saved[0] = input.detach() if by_input else None
        ctx.save_for_backward(*saved)
        shape, dtype = rows.logits.shape[:-1], input.dtype
        del rows.logits  # saved above, where it is needed
        return rows.reduced(reduction, shape).to(dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient that forward has found, scaled; or that of a second sweep."""
        refuse_second_derivative()
        kept, by_target, _, _ = ctx.saved_tensors
        pull = (upstream.double() * ctx.factor).reshape(-1)
        pull = pull.expand(ctx.rows.found.shape[1]).contiguous()
        to_input = to_target = None
        if ctx.needs_input_grad[0]:
            to_input = _scaled(kept, upstream) if ctx.early else _late(ctx, kept, pull)
        if ctx.needs_input_grad[1]:
            scale = pull.reshape(by_target.shape[:-1]).unsqueeze(-1)
            to_target = _classes_back(by_target * scale).to(ctx.target_dtype)
        return to_input, to_target, None, None, None


def refuse_second_derivative() -> None:
    """RuntimeError where backward is asked for a gradient that can be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError("a fused loss has no second derivative (create_graph=True)")


def graph_is_kept() -> bool:
    """Whether backward may come again (``retain_graph``); if torch does not say, it may."""
    tell = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)  # noqa: SLF001
    return bool(tell()) if tell else True


def _scaled(gradient: Tensor, upstream: Tensor) -> Tensor:
    """The gradient times what flows back; its own memory, if nobody needs it afterwards."""
    if graph_is_kept():
        return gradient * upstream
    return gradient if upstream.item() == 1.0 else gradient.mul_(upstream)


def _late(ctx: Any, input: Tensor, pull: Tensor) -> Tensor:
    """The gradient of the logits in a sweep of its own, row n scaled by pull[n]."""
    rows, into = ctx.rows, ctx.into
    if into is None and graph_is_kept():
        into = fresh
    rows = replace(rows, logits=classes_last(input).contiguous())
    gradient = _place(rows.logits, input, into)
    rows.run(late_kernel, gradient, pull.numpy())
    if into is None:
        increment_version(input)
    return _delivered(gradient, input, into)


def _place(logits: Tensor, input: Tensor, into: Into | None) -> Tensor:
    """Where to write the gradient of contiguous logits (*rows, c)."""
    if logits.numel() == 0:
        return torch.empty_like(logits)
    if into is not None:
        return into(logits)
    return logits if logits.data_ptr() == input.data_ptr() else fresh(logits)


def _delivered(gradient: Tensor, input: Tensor, into: Into | None) -> Tensor:
    """The gradient in the shape of ``input``; in its memory where it is to be overwritten."""
    gradient = _classes_back(gradient)
    if into is not None:
        return gradient
    own = input.detach()
    return own if gradient.data_ptr() == own.data_ptr() else own.copy_(gradient)


def _classes_back(tensor: Tensor) -> Tensor:
    return tensor.movedim(-1, 0 if tensor.dim() == 1 else 1)


def _target_gradient(rows: Rows, weight: Tensor | None, label_smoothing: float) -> Tensor:
    """The derivative of each row's loss by its probabilities, -(1 - eps) w log p: (*rows, c)."""
    logits = widened(rows.logits)
    each = torch.ones((), dtype=logits.dtype) if weight is None else weight.to(logits.dtype)
    return scaled((1.0 - label_smoothing) * each, -torch.log_softmax(logits, -1))


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
    whatever else is differentiated through these logits and would have to read them again.
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
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: tuple[int, str, float],
    into: Into | None,
) -> Tensor:
    loss: Tensor = _Fused.apply(input, target, weight, options, into)  # type: ignore[no-untyped-call]
    return loss
