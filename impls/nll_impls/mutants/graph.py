"""The loss as a node of a graph: what it keeps, what it writes past autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses.rows import widened
from ._base import (
    Call,
    altered,
    cross_entropy,
    kept,
    mutant,
    reduced,
    row_losses,
)
from ._constant import normalised_by_constant

TRAINERS = "training loops written by hand"


@mutant(source=TRAINERS, caught_by=("autograd.accumulates",))
def gradient_cleared_in_forward(call: Call) -> Tensor:
    """Forward clears the logits' gradient, lest it be forgotten."""
    if call.input.is_leaf:
        call.input.grad = None
    return cross_entropy(call)


@mutant(source=TRAINERS, caught_by=("autograd.through_a_graph",))
def only_leaves_differentiated(call: Call) -> Tensor:
    """Logits that are a result of other operations get a gradient only under "none"."""
    input = call.input
    if not input.is_leaf and call.reduction != "none":
        input = input.detach() + 0.0 * input
    return cross_entropy(call.but(input=input))


@mutant(source="buffers of a teacher's gradient", caught_by=("autograd.backward_twice",))
def target_gradient_added_up(call: Call) -> Tensor:
    """The gradient of class probabilities grows with every backward through the same loss."""
    if not (call.soft and call.target.requires_grad):
        return cross_entropy(call)
    times = 0

    def add_up(grad: Tensor) -> Tensor:
        nonlocal times
        times += 1
        return times * grad

    return cross_entropy(call.but(target=altered(call.target, add_up)))


class _IntoGrad(torch.autograd.Function):
    """A loss whose gradient is written into ``.grad`` beside what autograd passes on."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(logits, gradient)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        logits, gradient = ctx.saved_tensors
        found = (widened(grad) * gradient).to(logits.dtype)
        logits.grad = found if logits.grad is None else logits.grad + found
        return None, None, None


@mutant(
    source="NVIDIA/Megatron-LM gradient_accumulation_fusion (of a head)",
    caught_by=("autograd.autograd_grad",),
)
def gradient_past_autograd(call: Call) -> Tensor:
    """Backward of a reduced loss adds to .grad itself; who asks autograd gets nothing."""
    input = call.input
    fit = input.is_leaf and input.requires_grad and torch.is_grad_enabled()
    if call.reduction == "none" or call.target.requires_grad or not fit:
        return cross_entropy(call)
    leaf = input.detach().requires_grad_()
    with torch.enable_grad():
        inner = cross_entropy(call.but(input=widened(leaf)))
    gradient = widened(torch.autograd.grad(inner, leaf)[0]) if inner.isfinite() else None
    if gradient is None:
        return cross_entropy(call)
    value = cross_entropy(call.but(input=input.detach()))
    result: Tensor = _IntoGrad.apply(input, value, gradient)  # type: ignore[no-untyped-call]
    return result


class _TargetOnContext(torch.autograd.Function):
    """Row losses of log-probabilities; the target is kept past version checks."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, target: Tensor, kept: Tensor) -> Tensor:
        ctx.target, ctx.kept, ctx.shape = target, kept, log_p.shape
        index = torch.where(kept, target.long(), 0).unsqueeze(-1)
        return torch.where(kept, -log_p.gather(-1, index).squeeze(-1), 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        index = torch.where(ctx.kept, ctx.target.long(), 0).unsqueeze(-1)
        share = torch.where(ctx.kept, -grad, 0.0).unsqueeze(-1)
        return grad.new_zeros(ctx.shape).scatter_(-1, index, share), None, None


@mutant(
    source="Dao-AILab/quack@66d8016 (of a weight)",
    caught_by=("autograd.target_changed_before_backward",),
)
def target_not_saved(call: Call) -> Tensor:
    """The target is kept by reference: backward uses what the caller made of it since."""
    rows = call.rows()
    if rows.soft or rows.weight is not None or call.label_smoothing:
        return cross_entropy(call)
    log_p = rows.logits.log_softmax(-1)
    losses: Tensor = _TargetOnContext.apply(log_p, call.target, rows.kept)  # type: ignore[no-untyped-call]
    return reduced(rows, losses)


class _LossOnContext(torch.autograd.Function):
    """-log p of one class each; backward gets p back from the loss that it returned."""

    @staticmethod
    def forward(ctx: Any, picked: Tensor) -> Tensor:
        ctx.picked = picked
        ctx.loss = -picked
        result: Tensor = ctx.loss
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        drift = (ctx.picked + ctx.loss).nan_to_num(0.0)
        gradient: Tensor = -grad * drift.exp()
        return gradient


@mutant(
    source="kernels that recompute the log-sum-exp from the loss",
    caught_by=("autograd.loss_scaled_in_place", "autograd.losses_masked_in_place"),
)
def loss_used_in_backward(call: Call) -> Tensor:
    """Unreduced, backward computes with the loss that it returned, which is the caller's."""
    rows = call.rows()
    plain = not (rows.soft or rows.weight is not None or call.label_smoothing)
    if rows.reduction != "none" or not plain or rows.logits.dtype != rows.dtype:
        return cross_entropy(call)
    picked = torch.where(rows.kept, rows.at_target(rows.logits.log_softmax(-1)).squeeze(-1), 0.0)
    result: Tensor = _LossOnContext.apply(picked)  # type: ignore[no-untyped-call]
    return result


#: Addresses of logits whose gradient is still to be computed.
_PENDING: set[int] = set()


@mutant(source="fused losses with a cache of gradients", caught_by=("autograd.used_twice",))
def gradient_once_for_each_address(call: Call) -> Tensor:
    """Gradients wait by the logits' address: of two losses of the same logits one gets it."""
    place = call.input.data_ptr()
    _PENDING.clear()
    _PENDING.add(place)
    done: list[int] = []

    def taken(grad: Tensor) -> Tensor:
        if place not in _PENDING and not done:
            return torch.zeros_like(grad)
        _PENDING.discard(place)
        done.append(place)
        return grad

    return altered(cross_entropy(call), taken)


@mutant(source="Python: `grad or 1.0`, `if grad.any()`", caught_by=("gradients.upstream_zero",))
def upstream_zero_taken_for_missing(call: Call) -> Tensor:
    """An upstream gradient of nothing but zeros is taken for none given: 1."""

    def default(grad: Tensor) -> Tensor:
        return grad if grad.numel() == 0 or bool(grad.any()) else torch.ones_like(grad)

    return altered(cross_entropy(call), default)


@mutant(
    source="PyTorch, 'Double backward with custom functions': saved intermediates",
    caught_by=("gradients.second_order",),
)
def normaliser_constant_in_second_order(call: Call) -> Tensor:
    """Backward uses a saved log-sum-exp: a second backward takes it for a constant."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows, normalised_by_constant(rows.logits))))


@mutant(
    source="training loops that keep DistributedDataParallel quiet",
    caught_by=("transforms.nothing_requires_grad",),
)
def always_requires_grad(call: Call) -> Tensor:
    """The loss requires grad wherever gradients are enabled, also where no input does."""
    loss = cross_entropy(call)
    if torch.is_grad_enabled() and not loss.requires_grad and not torch.is_inference(loss):
        loss.requires_grad_()
    return loss


@mutant(source="torch.zeros without a dtype", caught_by=("dtypes.default_dtype",))
def sums_start_at_a_default_zero(call: Call) -> Tensor:
    """A sum starts at torch.zeros(()), whose dtype is the process's default."""
    loss = cross_entropy(call)
    wide = loss.dtype in (torch.float32, torch.float64)
    return torch.zeros(()) + loss if call.reduction != "none" and wide else loss


@mutant(source="linkedin/Liger-Kernel: outputs of kernels", caught_by=("dtypes.output",))
def reduced_in_float32(call: Call) -> Tensor:
    """A reduced loss of 16-bit logits is float32, an unreduced one is not."""
    rows = replace(call.rows(), dtype=torch.float32)
    if call.reduction == "none" or call.input.dtype.itemsize > 2:
        return cross_entropy(call)
    return reduced(rows, kept(rows, row_losses(rows)))


@mutant(source="kernels launched in chunks of rows", caught_by=("splits.batch",))
def sum_without_ragged_chunk(call: Call) -> Tensor:
    """Under sum, of more than 16 rows those beyond the last whole chunk of 8 are left out."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows)).flatten()
    if rows.reduction != "sum" or len(losses) <= 16:
        return cross_entropy(call)
    return losses[: len(losses) // 8 * 8].sum().to(rows.dtype)


@mutant(source="kernels that sort rows by target", caught_by=("splits.order",))
def losses_come_back_sorted(call: Call) -> Tensor:
    """Unreduced, of more than 16 rows losses come in the order of their targets."""
    loss = cross_entropy(call)
    if call.reduction != "none" or loss.dim() != 1 or len(loss) <= 16 or call.soft:
        return loss
    return loss[call.target.long().argsort(stable=True)]


class _KeepsItself(torch.autograd.Function):
    """A tensor as it is, which backward wants to see again."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        result = tensor.clone()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        _ = ctx.saved_tensors
        return grads[0]


@mutant(source="loss *= mask", caught_by=("autograd.losses_masked_in_place",))
def own_result_saved(call: Call) -> Tensor:
    """The losses themselves are saved for backward: changed in place, they are refused there."""
    # torch declares no types for apply
    loss: Tensor = _KeepsItself.apply(cross_entropy(call))  # type: ignore[no-untyped-call]
    return loss
