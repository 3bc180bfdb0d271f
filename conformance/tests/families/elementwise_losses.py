"""Correct but unlike element-wise losses: none of them may be flagged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from nll_conformance.bounds import compute_dtype

Tensor = torch.Tensor
# --- how variants compute -----------------------------------------------------------------


def wide(*tensors: Tensor | None, to: torch.dtype | None = None) -> list[Any]:
    """The tensors in the dtype that their first is at least computed in, or in ``to``."""
    dtype = to or compute_dtype(tensors[0].dtype)
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]


def in_sequence(losses: Tensor) -> Tensor:
    """The sum, one addition after the other."""
    return losses.reshape(-1).cumsum(0)[-1] if losses.numel() else losses.sum()


def permuted(losses: Tensor) -> Tensor:
    """The sum in another order, in blocks."""
    flat = losses.reshape(-1).flip(0)
    return torch.stack([part.sum() for part in flat.split(13)]).sum()


def reduced(
    losses: Tensor,
    reduction: str,
    dtype: torch.dtype,
    total: Callable[[Tensor], Tensor] = torch.sum,
) -> Tensor:
    if reduction == "none":
        return losses.to(dtype)
    if reduction not in ("mean", "sum"):
        raise ValueError(reduction)
    whole = total(losses)
    return (whole / losses.numel() if reduction == "mean" else whole).to(dtype)


# --- Gaussian -----------------------------------------------------------------------------


def spread(input: Tensor, var: Tensor) -> Tensor:
    """The variance beside the input: a missing last dimension is one."""
    if isinstance(var, float):
        return torch.tensor(var, dtype=input.dtype)
    if (var < 0).any():
        raise ValueError("negative variance")
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    sizes = zip(var.shape, input.shape, strict=var.dim() == input.dim())
    if var.dim() != input.dim() or any(a not in (1, b) for a, b in sizes):
        raise ValueError("shape of the variance")
    return var


def lifted(var: Tensor, eps: float) -> Tensor:
    """max(var, eps), invisible to autograd."""
    var = var.clone()
    with torch.no_grad():
        var.clamp_(min=eps)
    return var


def gaussian(
    element: Callable[[Tensor, Tensor], Tensor],
    *,
    to: torch.dtype | None = None,
    total: Callable[[Tensor], Tensor] = torch.sum,
    rows: bool = False,
) -> Callable[..., Tensor]:
    """A Gaussian loss from residuals and variances; ``rows`` rounds each element's loss."""

    def loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
        x, y, v = wide(input, target, spread(input, var), to=to)
        losses = element(x - y, lifted(v, eps)) + (0.5 * math.log(2 * math.pi) if full else 0.0)
        if rows:
            losses = losses.to(input.dtype).to(losses.dtype)
        return reduced(losses, reduction, input.dtype, total)

    return loss


class Quotient(torch.autograd.Function):
    """(log v + r^2 / v) / 2 with reciprocals instead of quotients, differentiated by hand."""

    @staticmethod
    def forward(ctx, r, v):
        ctx.save_for_backward(r, v)
        return 0.5 * v.log() + 0.5 * (r * (1 / v)) * r

    @staticmethod
    def backward(ctx, upstream):
        r, v = ctx.saved_tensors
        inverse = 1 / v
        slope = 0.5 * (inverse - (r * inverse) * (r * inverse))
        return upstream * (r * inverse), (upstream * slope).sum_to_size(v.shape)


def normal(r: Tensor, v: Tensor) -> Tensor:
    """torch.distributions, less the constant that it always has."""
    law = torch.distributions.Normal(torch.zeros_like(r), v.sqrt(), validate_args=False)
    return -law.log_prob(r) - 0.5 * math.log(2 * math.pi)


def plain_gaussian(r: Tensor, v: Tensor) -> Tensor:
    return 0.5 * (v.log() + r * r / v)


GAUSSIAN: dict[str, tuple[Callable[..., Tensor], str]] = {
    "eager": (F.gaussian_nll_loss, "input_dtype"),
    "single": (gaussian(plain_gaussian), "fp32_inside"),
    "double": (gaussian(plain_gaussian, to=torch.float64), "fp32_inside"),
    "rsqrt": (gaussian(lambda r, v: 0.5 * (v.log() + (r * v.rsqrt()) ** 2)), "fp32_inside"),
    "sigma": (gaussian(lambda r, v: v.sqrt().log() + 0.5 * (r / v.sqrt()) ** 2), "fp32_inside"),
    "exponential": (
        gaussian(lambda r, v: 0.5 * v.log() + 0.5 * r**2 * (-v.log()).exp()),
        "fp32_inside",
    ),
    "normal": (gaussian(normal), "fp32_inside"),
    "by_hand": (gaussian(Quotient.apply), "fp32_inside"),
    "sequential": (gaussian(plain_gaussian, total=in_sequence), "fp32_inside"),
    "permuted": (gaussian(plain_gaussian, total=permuted), "fp32_inside"),
    "rounded": (gaussian(plain_gaussian, rows=True), "rounded_rows"),
}


# --- Poisson ------------------------------------------------------------------------------


def stirling(y: Tensor) -> Tensor:
    return y * y.log() - y + 0.5 * (2 * math.pi * y).log()


def gathered_stirling(y: Tensor) -> Tensor:
    return (y + 0.5) * y.log() - y + 0.5 * math.log(2 * math.pi)


def poisson(
    rate: Callable[[Tensor], Tensor] = torch.exp,
    *,
    term: Callable[[Tensor], Tensor] = stirling,
    product: Callable[[Tensor, Tensor], Tensor] = lambda y, z: y * z.log(),
    to: torch.dtype | None = None,
    total: Callable[[Tensor], Tensor] = torch.sum,
    rows: bool = False,
) -> Callable[..., Tensor]:
    """A Poisson loss; Stirling's term is computed where it counts only."""

    def loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
        x, y = wide(input, target, to=to)
        losses = rate(x) - y * x if log_input else x - product(y, x + eps)
        if full:
            above = y > 1
            losses = losses + torch.where(above, term(torch.where(above, y, 2.0)), 0.0)
        if rows:
            losses = losses.to(input.dtype).to(losses.dtype)
        return reduced(losses, reduction, input.dtype, total)

    return loss


class Rate(torch.autograd.Function):
    """exp(x) through exp2, its derivative from x again."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x * math.log2(math.e)).exp2()

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream * x.exp()


POISSON: dict[str, tuple[Callable[..., Tensor], str]] = {
    "eager": (F.poisson_nll_loss, "input_dtype"),
    "single": (poisson(), "fp32_inside"),
    "double": (poisson(to=torch.float64), "fp32_inside"),
    "exp2": (poisson(lambda x: (x * math.log2(math.e)).exp2()), "fp32_inside"),
    "by_hand": (poisson(Rate.apply), "fp32_inside"),
    "halves": (poisson(lambda x: (x / 2).exp() ** 2), "fp32_inside"),
    "gathered": (poisson(term=gathered_stirling, product=torch.xlogy), "fp32_inside"),
    "log2": (poisson(product=lambda y, z: y * (z.log2() * math.log(2))), "fp32_inside"),
    "sequential": (poisson(total=in_sequence), "fp32_inside"),
    "permuted": (poisson(total=permuted), "fp32_inside"),
    "rounded": (poisson(rows=True), "rounded_rows"),
}


# --- binary cross entropy -----------------------------------------------------------------


def softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=50.0)


def bce(
    element: Callable[[Tensor, Tensor, Tensor | float], Tensor],
    *,
    to: torch.dtype | None = None,
    total: Callable[[Tensor], Tensor] = torch.sum,
    rows: bool = False,
) -> Callable[..., Tensor]:
    """A binary cross entropy from logits, labels and pos_weight."""

    def loss(input, target, weight=None, reduction="mean", pos_weight=None):
        if target.shape != input.shape:
            raise ValueError("shapes")
        x, y, w, p = wide(input, target, weight, pos_weight, to=to)
        losses = element(x, y, 1.0 if p is None else p)
        if w is not None:
            losses = losses * w
        if rows:
            losses = losses.to(input.dtype).to(losses.dtype)
        return reduced(losses, reduction, input.dtype, total)

    return loss


class Logistic(torch.autograd.Function):
    """max(x, 0) - x y + ..., whose kink autograd would see, differentiated by hand."""

    @staticmethod
    def forward(ctx, x, y, p):
        ctx.save_for_backward(x, y, torch.as_tensor(p, dtype=x.dtype))
        tail = (1 + (-x.abs()).exp()).log()
        below = x.clamp(max=0).neg() + tail
        return (1 - y) * x + (1 + (p - 1) * y) * below

    @staticmethod
    def backward(ctx, upstream):
        x, y, p = ctx.saved_tensors
        slope = (1 - y + p * y) * x.sigmoid() - p * y
        by_target = p * softplus(-x) - softplus(x)
        return upstream * slope, upstream * by_target, None


def two_logarithms(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    return -(p * y * F.logsigmoid(x) + (1 - y) * F.logsigmoid(-x))


def as_documented(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    return (1 - y) * x + (1 + (p - 1) * y) * softplus(-x)


def log_add_exp(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    zero = torch.zeros_like(x)
    return p * y * torch.logaddexp(zero, -x) + (1 - y) * torch.logaddexp(zero, x)


BCE: dict[str, tuple[Callable[..., Tensor], str]] = {
    "eager": (F.binary_cross_entropy_with_logits, "input_dtype"),
    "single": (bce(as_documented), "fp32_inside"),
    "double": (bce(as_documented, to=torch.float64), "fp32_inside"),
    "two_logarithms": (bce(two_logarithms), "fp32_inside"),
    "log_add_exp": (bce(log_add_exp), "fp32_inside"),
    "subtracting": (
        bce(lambda x, y, p: softplus(x) - x * y + (p - 1) * y * softplus(-x)),
        "fp32_inside",
    ),
    "by_hand": (bce(Logistic.apply), "fp32_inside"),
    "sequential": (bce(as_documented, total=in_sequence), "fp32_inside"),
    "permuted": (bce(two_logarithms, total=permuted), "fp32_inside"),
    "rounded": (bce(two_logarithms, rows=True), "rounded_rows"),
}

VARIANTS = {"gaussian_nll": GAUSSIAN, "poisson_nll": POISSON, "bce_with_logits": BCE}
