"""The gradient is computed in forward, beside the loss or over the logits themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._checked import check
from ._declare import variant


class _Early(torch.autograd.Function):
    """Row losses of logits; the softmax less the target is kept, or laid over the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, share: Tensor, kept: Tensor, over: bool) -> Tensor:
        """sum_j share_j (lse - x_j), classes in dim 1, and its gradient unasked."""
        wide = logits.to(share.dtype).where(kept, 0.0)
        log_p = wide - wide.logsumexp(1, keepdim=True)
        nll = log_p.neg().masked_fill((share == 0) & torch.isneginf(log_p), 0.0)
        losses = (share * nll).sum(1)
        gradient = log_p.exp() * share.sum(1, keepdim=True) - share
        if over:
            gradient = logits.copy_(gradient)
        ctx.save_for_backward(gradient, nll if share.requires_grad else None, kept)
        ctx.dtype = logits.dtype
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """What forward has computed, scaled row by row."""
        gradient, nll, kept = ctx.saved_tensors
        # where no row counts the mean's upstream gradient is 1 / 0
        grad = grad.unsqueeze(1).where(kept, 0.0)
        return (gradient * grad).to(ctx.dtype), None if nll is None else nll * grad, None, None


def _loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    over: bool,
) -> Tensor:
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype = torch.promote_types(input.dtype, torch.float32)
    logits = input if input.dim() > 1 else input.unsqueeze(0)
    labels = target if input.dim() > 1 else target.unsqueeze(0)
    classes = logits.shape[1]
    if labels.is_floating_point():
        share, kept = labels.to(dtype), torch.ones_like(labels[:, 0], dtype=torch.bool)
        counted = kept.to(dtype)
    else:
        kept = labels != ignore_index
        index = labels.long().where(kept, 0).unsqueeze(1)
        share = torch.zeros(logits.shape, dtype=dtype, device=input.device)
        share = share.scatter_(1, index, 1.0)
        counted = kept.to(dtype)
        if weight is not None:
            counted = weight.to(dtype)[index.squeeze(1)].where(kept, 0.0)
    share = (1.0 - label_smoothing) * share + label_smoothing / classes
    if weight is not None:
        share = share * weight.to(dtype).reshape([-1] + [1] * (logits.dim() - 2))
    share = share.where(kept.unsqueeze(1), 0.0)
    losses: Tensor = _Early.apply(logits, share, kept.unsqueeze(1), over)  # type: ignore[no-untyped-call]
    if reduction == "none":
        return (losses if input.dim() > 1 else losses[0]).to(input.dtype)
    total = losses.sum()
    return (total if reduction == "sum" else total / counted.sum()).to(input.dtype)


def gradient_in_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Backward only multiplies; backward of backward raises."""
    return _loss(input, target, weight, ignore_index, reduction, label_smoothing, False)


def gradient_over_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The caller's logits become their gradient, rounded to their dtype before scaling."""
    return _loss(input, target, weight, ignore_index, reduction, label_smoothing, True)


IMPLEMENTATIONS = (
    variant(__name__, "gradient_in_forward"),
    variant(__name__, "gradient_over_logits", precision="rounded_rows", mutates=("input",)),
)
