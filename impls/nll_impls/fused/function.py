"""What every fused cross entropy does around its kernels: the call, autograd, reductions.

An engine has three kernels.  One finds the loss alone; one the gradient with it (``early``);
one the gradient afterwards (``late``), where it cannot be known before backward because each
row has an upstream gradient of its own (reduction "none"), or cannot be scaled without
rounding it twice (16-bit logits and an upstream gradient that is not 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ..losses.rows import checked, classes_last, scaled, widened

#: Gives memory for a contiguous tensor like the given one.
Into = Callable[[Tensor], Tensor]
#: weight, ignore_index, reduction, label_smoothing come with every call; these follow weight.
Options = tuple[int, str, float]
#: A number, or a tensor () of one that a GPU has yet to find.
Scalar = float | Tensor
#: Dtypes in which scaling the gradient afterwards rounds no more than computing it does.
SCALABLE = (torch.float32, torch.float64)


class Engine(Protocol):
    """The kernels, each one sweep over contiguous rows.

    Where backward does not come again, an ``asynchronous`` engine is not asked what flows back
    but looks itself: it leaves a gradient alone where that is 1.
    """

    asynchronous: bool

    def survey(
        self, index: Tensor, ignore_index: int, classes: int, weight: Tensor | None
    ) -> tuple[Scalar, int]:
        """The weight of all counted rows, and the first target that is no class (-1: none)."""

    def loss(self, rows: Rows) -> Tensor:
        """Fill ``rows.found``; the sum of the row losses ()."""

    def early(self, rows: Rows, gradient: Tensor, pull: Scalar) -> Tensor:
        """The sum of the row losses; ``gradient`` (*rows, c) gets that of each times ``pull``.

        ``gradient`` may be ``rows.logits`` itself.
        """

    def late(
        self, rows: Rows, gradient: Tensor, pull: Tensor, unless_one: Tensor | None = None
    ) -> None:
        """``gradient`` from ``rows.found``, row n times ``pull[n]``, (n,) float64.

        An asynchronous engine leaves it as it is if ``unless_one`` () is 1.
        """

    def times(self, gradient: Tensor, factor: Tensor) -> None:
        """Multiply ``gradient`` by ``factor`` () in place; nothing is written if that is 1."""


@dataclass
class Rows:
    """The rows of a call as the kernels take them; ``n`` rows of ``c`` classes."""

    logits: Tensor  #: (*rows, c), contiguous when a kernel runs
    target: Tensor | None  #: (n,) int64; none if the target is probabilities
    ignore_index: int
    weight: Tensor | None  #: (c,) float64
    share: Tensor | None  #: (1, c) or (n, c), in the dtype that is computed in
    hard: float
    counted: Scalar  #: what the mean divides by
    found: Tensor  #: top, total, mass and cross of :mod:`call`, (4, n) float64

    @classmethod
    def of(
        cls,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        ignore_index: int,
        reduction: str,
        label_smoothing: float,
        engine: Engine,
    ) -> Rows:
        """The rows of a call; ValueError, TypeError or IndexError if it makes no sense."""
        args = (weight, ignore_index, reduction, label_smoothing)
        logits, labels = checked(input, target, *args)
        classes = logits.shape[-1]
        if weight is not None:
            weight = weight.detach().to(torch.float64).contiguous()
        wide = torch.float64 if input.dtype == torch.float64 else torch.float32
        share = None
        if label_smoothing != 0.0 or labels.is_floating_point():
            each = input.new_ones((), dtype=torch.float64) if weight is None else weight
            share = (each * (label_smoothing / classes)).expand(1, classes)
            if labels.is_floating_point():
                given = labels.reshape(-1, classes)
                share = torch.addcmul(share, each, given.double(), value=1.0 - label_smoothing)
            share = share.to(wide).contiguous()
        rows = labels.numel() // classes if labels.is_floating_point() else labels.numel()
        counted: Scalar = float(rows)
        index = None
        if not labels.is_floating_point():
            index = labels.reshape(-1).contiguous()
            counted, wrong = engine.survey(index, ignore_index, classes, weight)
            if wrong >= 0:
                raise IndexError(
                    f"target {int(index[wrong])} of row {wrong} is neither a class "
                    f"(0 to {classes - 1}) nor ignore_index ({ignore_index})"
                )
        return cls(
            logits=logits.detach(),
            target=index,
            ignore_index=ignore_index,
            weight=weight,
            share=share,
            hard=0.0 if index is None else 1.0 - label_smoothing,
            counted=counted,
            # takes no memory where no kernel writes to it
            found=torch.empty(4, rows, dtype=torch.float64, device=input.device),
        )

    def losses(self) -> Tensor:
        """Row losses (n,) in float64, from what a sweep has found."""
        _, total, mass, cross = self.found
        losses: Tensor = total.log().mul_(mass).sub_(cross)
        return losses

    def reduced(self, reduction: str, losses: Tensor) -> Tensor:
        """The result of the call, of row losses or of their sum."""
        if reduction == "none":
            return losses
        total = losses.sum() if losses.dim() else losses
        return total / self.counted if reduction == "mean" else total

    def factor(self, reduction: str) -> Scalar:
        """What the reduction multiplies each row's gradient by."""
        if reduction != "mean":
            return 1.0
        if isinstance(self.counted, Tensor):
            return self.counted.reciprocal()
        return 1.0 / self.counted if self.counted else float("inf")


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
        options: Options,
        into: Into | None,
        engine: Engine,
    ) -> Tensor:
        """One sweep over the rows: for the loss alone, or for loss and gradient."""
        _, reduction, label_smoothing = options
        rows = Rows.of(input, target, weight, *options, engine)
        rows.logits = rows.logits.contiguous()
        by_input, by_target = ctx.needs_input_grad[:2]
        if by_input and into is None:
            with torch.enable_grad():
                _Overwritten.apply(input)  # type: ignore[no-untyped-call]
        ctx.rows, ctx.into, ctx.engine = rows, into, engine
        ctx.scalable = input.dtype in SCALABLE
        # over 16-bit logits it would be too early: they may be needed again
        ctx.early = reduction != "none" and (ctx.scalable or into is not None)
        ctx.factor, ctx.target_dtype = rows.factor(reduction), target.dtype
        # before the logits may be overwritten
        slope = _target_gradient(rows, weight, label_smoothing) if by_target else None
        ready = None
        if by_input and ctx.early:
            gradient = _place(rows.logits, input, into)
            losses = engine.early(rows, gradient, ctx.factor)
            ready = _delivered(gradient, input, into)
        else:
            losses = engine.loss(rows)
            if reduction == "none":
                losses = rows.losses().reshape(rows.logits.shape[:-1])
        # what backward may read is saved: a change is then noticed
        again: tuple[Tensor | None, ...] = (None,) * 3
        if not (ctx.early and ctx.scalable):
            again = (input.detach() if by_input else None, target, weight)
        ctx.save_for_backward(ready, slope, *again)
        del rows.logits  # saved above, where it is needed
        return rows.reduced(reduction, losses).to(input.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient that forward has found, scaled; or that of a second sweep."""
        refuse_second_derivative()
        ready, slope, input, _, _ = ctx.saved_tensors
        to_input = to_target = None
        if ctx.needs_input_grad[0]:
            to_input = _to_input(ctx, ready, input, upstream)
        if ctx.needs_input_grad[1]:
            scale = _pull(ctx, upstream).reshape(slope.shape[:-1]).unsqueeze(-1)
            to_target = _classes_back(slope * scale).to(ctx.target_dtype)
        return to_input, to_target, None, None, None, None


def refuse_second_derivative() -> None:
    """RuntimeError where backward is asked for a gradient that can be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError("a fused loss has no second derivative (create_graph=True)")


def graph_is_kept() -> bool:
    """Whether backward may come again (``retain_graph``); if torch does not say, it may."""
    tell = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)  # noqa: SLF001
    return bool(tell()) if tell else True


def _to_input(ctx: Any, ready: Tensor | None, input: Tensor, upstream: Tensor) -> Tensor:
    """The gradient of the logits: the early one scaled, or that of another sweep."""
    if ready is None:
        return _late(ctx, input, _pull(ctx, upstream))
    again = graph_is_kept()
    if not ctx.scalable and ctx.engine.asynchronous and not again:
        # the gradient that is ready lies as the contiguous rows do
        rows = replace(ctx.rows, logits=classes_last(input).contiguous())
        place = classes_last(ready)
        ctx.engine.late(rows, place, _pull(ctx, upstream), unless_one=upstream)
        return ready
    if not (ctx.scalable or _is_exact(ready, upstream)):
        return _late(ctx, input, _pull(ctx, upstream))
    if again:
        return ready * upstream
    ctx.engine.times(classes_last(ready), upstream)
    return ready


def times(gradient: Tensor, factor: Tensor) -> None:
    """What an engine that knows nothing better does as ``times``."""
    if factor.item() != 1.0:
        gradient.mul_(factor)


def _is_exact(gradient: Tensor, upstream: Tensor) -> bool:
    """Whether a 16-bit gradient times what flows back needs no rounding.

    Powers of two do not in bfloat16; in float16 the digits that small numbers lack would show.
    """
    size = abs(upstream.item())
    power = gradient.dtype == torch.bfloat16 and math.frexp(size)[0] == 0.5
    return size == 1.0 or power


def _pull(ctx: Any, upstream: Tensor) -> Tensor:
    """What the gradient of each row is multiplied by, (n,) float64."""
    pull: Tensor = (upstream.double() * ctx.factor).reshape(-1)
    return pull.expand(ctx.rows.found.shape[1]).contiguous()


def _late(ctx: Any, input: Tensor, pull: Tensor) -> Tensor:
    """The gradient of the logits in a sweep of its own, row n scaled by pull[n]."""
    rows, into = ctx.rows, ctx.into
    if into is None and graph_is_kept():
        into = torch.empty_like
    rows = replace(rows, logits=classes_last(input).contiguous())
    if ctx.early:
        ctx.engine.loss(rows)
    gradient = _place(rows.logits, input, into)
    ctx.engine.late(rows, gradient, pull)
    if into is None:
        increment_version(input)
    return _delivered(gradient, input, into)


def _place(logits: Tensor, input: Tensor, into: Into | None) -> Tensor:
    """Where to write the gradient of contiguous logits (*rows, c)."""
    if logits.numel() == 0:
        return torch.empty_like(logits)
    if into is not None:
        return into(logits)
    return logits if logits.data_ptr() == input.data_ptr() else torch.empty_like(logits)


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
    each = torch.ones_like(logits[..., :1]) if weight is None else weight.to(logits.dtype)
    return scaled((1.0 - label_smoothing) * each, -torch.log_softmax(logits, -1))


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    into: Into | None,
    engine: Engine,
) -> Tensor:
    """The loss of a call, by the kernels of an engine, its gradient in memory from ``into``."""
    if not torch.is_grad_enabled():
        # autograd tells a function what requires grad, not whether anybody will ask
        input, target = input.detach(), target.detach()
    loss: Tensor = _Fused.apply(input, target, weight, options, into, engine)  # type: ignore[no-untyped-call]
    return loss
