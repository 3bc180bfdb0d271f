"""The gradient is computed in forward, beside the loss or over the logits themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._declare import variant


class _Early(torch.autograd.Function):
    """Logits (R, C) and coefficients (R, C): row losses, the softmax kept as the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, share: Tensor, over: bool) -> Tensor:
        """sum_j share_j (lse - x_j), and its gradient before anybody asks for it."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_p = wide - wide.logsumexp(1, keepdim=True)
        nll = log_p.neg().masked_fill((share == 0) & torch.isneginf(log_p), 0.0)
        losses = (share * nll).sum(1)
        gradient = log_p.exp() * share.sum(1, keepdim=True) - share
        if over:
            logits.copy_(gradient)
            ctx.mark_dirty(logits)
            gradient = logits
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """What forward has computed, scaled row by row."""
        (gradient,) = ctx.saved_tensors
        return (gradient * grad.unsqueeze(1)).to(ctx.dtype), None, None
