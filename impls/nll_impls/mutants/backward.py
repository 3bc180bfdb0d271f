"""The loss is right and its gradient is not, or not always."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses.rows import widened
from ._base import (
    Call,
    Saved,
    altered,
    by_hand,
    counted,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
)


@mutant(
    source="pytorch/pytorch#94226",
    caught_by=("gradients.upstream_scale", "gradients.upstream_rows"),
)
def upstream_ignored(call: Call) -> Tensor:
    """The gradient is not multiplied by what flows back."""
    return by_hand(call, lambda saved, grad: saved.gradient(torch.ones_like(grad)))


def _scale_in_place(saved: Saved, grad: Tensor) -> Tensor:
    if saved.stored is None:
        saved.stored = saved.gradient(torch.ones_like(grad))
    return saved.stored.mul_(widened(grad).unsqueeze(-1)).clone()


@mutant(
    source="unslothai/unsloth-zoo#610",
    caught_by=("autograd.backward_twice",),
)
def saved_gradient_scaled_in_place(call: Call) -> Tensor:
    """Backward scales the gradient kept since forward in place: a second one starts from that."""
    return by_hand(call, _scale_in_place)


@mutant(
    source="linkedin/Liger-Kernel#678 (fixed by #680), #1298",
    caught_by=("gradients.upstream_rows", "gradients.upstream_strided"),
)
def first_upstream_for_all_rows(call: Call) -> Tensor:
    """Unreduced, every row's gradient is scaled by the first row's upstream gradient."""

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        if grad.numel():
            grad = grad.flatten()[0].expand(grad.shape)
        return saved.gradient(grad)

    return by_hand(call, derivative)


@mutant(
    source="linkedin/Liger-Kernel#488 (fixed by #496)",
    caught_by=("gradients.upstream_rows", "gradients.upstream_expanded", "reductions.none"),
)
def upstream_as_truth_value(call: Call) -> Tensor:
    """Backward asks whether the upstream gradient is 1, which only a scalar can answer."""

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        if grad.numel() and torch.ne(grad, 1.0):
            return saved.gradient(grad)
        return saved.gradient(torch.ones_like(grad))

    return by_hand(call, derivative)


def _round_before_subtracting(saved: Saved, grad: Tensor) -> Tensor:
    upstream = saved.upstream(grad).unsqueeze(-1)
    soft = upstream * saved.share.sum(-1, keepdim=True) * saved.probabilities
    return soft.to(saved.dtype).to(soft.dtype) - upstream * saved.share


@mutant(
    source="linkedin/Liger-Kernel#1329 (after #1268), #1341",
    caught_by=("gradients.confident",),
    dtypes=("bfloat16", "float16"),
)
def true_class_rounded_twice(call: Call) -> Tensor:
    """In 16 bits the softmax is stored before 1 is subtracted at the target."""
    return by_hand(call, _round_before_subtracting)


class _WeightOnContext(torch.autograd.Function):
    """Row losses times the weight of their targets; the weight is kept past version checks."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        ctx.weight, ctx.target = weight, target
        return weight[target].to(losses.dtype) * losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.weight[ctx.target], None, None


@mutant(
    source="Dao-AILab/quack@66d8016",
    caught_by=("autograd.weight_changed_before_backward",),
)
def weight_not_saved(call: Call) -> Tensor:
    """The weight is kept by reference: backward uses what the caller made of it since."""
    rows = call.rows()
    if call.weight is None or rows.soft or call.label_smoothing:
        return cross_entropy(call)
    losses = row_losses(call.but(weight=None).rows())
    weighted = _WeightOnContext.apply(losses, call.weight, rows.target)  # type: ignore[no-untyped-call]
    return reduced(rows, kept(rows, weighted))


@mutant(
    source="linkedin/Liger-Kernel#930 (fixed by #931)",
    caught_by=("transforms.no_grad", "transforms.inference_mode"),
)
def crashes_without_gradient(call: Call) -> Tensor:
    """Under no_grad a variable that only the gradient's path sets is missing."""
    if torch.is_grad_enabled():
        gradient = torch.zeros_like(call.input)
    del gradient
    return cross_entropy(call)


def _mask_in_place(saved: Saved, grad: Tensor) -> Tensor:
    if grad.dim() and not bool(saved.kept.all()):
        grad.masked_fill_(~saved.kept, 0.0)
    return saved.gradient(grad)


@mutant(
    source="NVIDIA/apex contrib/xentropy@6424da3b",
    caught_by=("side_effects.upstream_of_ignored",),
)
def upstream_masked_in_place(call: Call) -> Tensor:
    """Backward writes zeros into the upstream gradient where rows are ignored."""
    return by_hand(call, _mask_in_place)


class _GradientInForward(torch.autograd.Function):
    """The loss, and a gradient that was finished in forward: a constant to autograd."""

    @staticmethod
    def forward(ctx: Any, _logits: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scale = grads[0].to(ctx.gradient.dtype).unsqueeze(-1)
        return scale * ctx.gradient, None, None


@mutant(
    source="research/divergences.md, pitfall 4",
    caught_by=("gradients.second_order_penalty",),
)
def second_derivative_is_zero(call: Call) -> Tensor:
    """The gradient is computed in forward, so that differentiating it gives zero."""
    rows = call.rows()
    if not rows.logits.requires_grad or call.target.requires_grad:
        return cross_entropy(call)
    logits = rows.logits.detach().requires_grad_()
    with torch.enable_grad():
        inner = replace(rows, logits=logits)
        (gradient,) = torch.autograd.grad(kept(rows, row_losses(inner)).sum(), logits)
    if is_mean(rows):
        gradient = torch.where(rows.kept.unsqueeze(-1), gradient / counted(rows), 0.0)
    loss = cross_entropy(call.but(input=call.input.detach()))
    result: Tensor = _GradientInForward.apply(rows.logits, loss, gradient)  # type: ignore[no-untyped-call]
    return result


@mutant(
    source="torch.isclose(grad_output, 1) before a scaling that could be left out",
    caught_by=("gradients.upstream_near_one",),
)
def nearly_one_is_one(call: Call) -> Tensor:
    """What flows back counts as 1 if it is within 1e-5 of it."""

    def rounded(grad: Tensor) -> Tensor:
        one = torch.ones_like(grad)
        return torch.where(torch.isclose(grad, one), one, grad)

    return altered(cross_entropy(call), rounded)
