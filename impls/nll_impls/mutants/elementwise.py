"""What losses of elements share: reductions, sizes, memory, dtypes, what flows back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses.elements import widened
from ._base import altered
from ._elements import (
    Binary,
    Gaussian,
    Poisson,
    binary_mutant,
    gaussian_mutant,
    poisson_mutant,
    reduced,
    softplus,
)
from ._memory import read_as_contiguous, rows_in_32_bits

FORMULA = "implementations of the formula by hand"


@gaussian_mutant(
    source="pytorch/pytorch#53964 (fixed by #56469)",
    caught_by=("elementwise.none", "elementwise.mean"),
)
def features_summed(call: Gaussian) -> Tensor:
    """Losses are summed over all dimensions but the first before they are reduced."""
    losses = call.losses()
    if losses.dim() > 1 and losses.numel():
        losses = losses.flatten(1).sum(1)
    return reduced(call, losses)


@gaussian_mutant(
    source="torch.nan_to_num before the sum, lest training stops",
    caught_by=("elementwise.nan_shows",),
)
def unknown_costs_nothing(call: Gaussian) -> Tensor:
    """A loss that is NaN counts as 0."""
    losses = call.losses()
    return reduced(call, torch.where(losses.isnan(), 0.0, losses))


@gaussian_mutant(source=FORMULA, caught_by=("elementwise.any_dimensions",))
def flat_from_five_dimensions(call: Gaussian) -> Tensor:
    """Unreduced, the losses of five or more dimensions come back flat."""
    loss = reduced(call, call.losses())
    return loss.flatten() if loss.dim() > 4 else loss


@gaussian_mutant(source=FORMULA, caught_by=("elementwise.other_layout",))
def variance_read_as_contiguous(call: Gaussian) -> Tensor:
    """A variance of the input's shape is read as if it were contiguous."""
    var = call.var
    if isinstance(var, Tensor) and var.shape == call.input.shape:
        var = read_as_contiguous(var)
    return reduced(call, call.but(var=var).losses())


@gaussian_mutant(source=FORMULA, caught_by=("elementwise_gradients.one_tensor",))
def variance_alone_not_differentiated(call: Gaussian) -> Tensor:
    """The variance gets its gradient only where the input requires one, too."""
    var = call.var
    if isinstance(var, Tensor) and not call.input.requires_grad:
        var = var.detach()
    return reduced(call, call.but(var=var).losses())


@gaussian_mutant(source=FORMULA, caught_by=("elementwise_gradients.target",))
def target_detached(call: Gaussian) -> Tensor:
    """The target is taken for a constant."""
    return reduced(call, call.but(target=call.target.detach()).losses())


@gaussian_mutant(
    source="libraries that skip a step whose loss is not finite",
    caught_by=("elementwise.neighbours",),
)
def nan_anywhere_is_zero(call: Gaussian) -> Tensor:
    """If any element's loss is NaN, all of them are zero."""
    losses = call.losses()
    return reduced(call, losses * 0.0 if bool(losses.isnan().any()) else losses).nan_to_num(0.0)


@poisson_mutant(
    source="pytorch/pytorch#17347", caught_by=("elementwise.none", "elementwise.any_dimensions")
)
def unreduced_is_sum(call: Poisson) -> Tensor:
    """reduction="none" gives the sum."""
    reduction = "sum" if call.reduction == "none" else call.reduction
    return reduced(call.but(reduction=reduction), call.losses())


@poisson_mutant(source=FORMULA, caught_by=("elementwise.sum",))
def sum_of_means(call: Poisson) -> Tensor:
    """The sum adds up the means of the last dimension."""
    losses = call.losses()
    if call.reduction == "sum" and losses.dim() > 1 and losses.numel():
        losses = losses.mean(-1)
    return reduced(call, losses)


@poisson_mutant(source=FORMULA, caught_by=("elementwise.no_dimension",))
def batch_size_asked_for(call: Poisson) -> Tensor:
    """The length of the first dimension is asked for, which a single number has not."""
    len(call.input)
    return reduced(call, call.losses())


@poisson_mutant(
    source="Dao-AILab/flash-attention@c79de85f (of a cross entropy)",
    caught_by=("elementwise.far_rows",),
)
def row_offsets_in_32_bits(call: Poisson) -> Tensor:
    """The offset of a row wraps at 2**31 elements."""
    return reduced(call, call.but(input=rows_in_32_bits(call.input)).losses())


@poisson_mutant(
    source="pytorch/executorch#20090 (of a softmax)",
    caught_by=("elementwise.thousands",),
)
def sum_rounded_by_blocks(call: Poisson) -> Tensor:
    """Sums of 16-bit inputs are rounded to 16 bits after every 256 elements."""
    losses, dtype = call.losses(), call.input.dtype
    if call.reduction == "none" or losses.numel() <= 256 or dtype.itemsize > 2:
        return reduced(call, losses)
    total = losses.new_zeros(())
    for block in torch.split(losses.flatten(), 256):
        total = (total + block.sum()).to(dtype).float()
    return (total / losses.numel() if call.reduction == "mean" else total).to(dtype)


@poisson_mutant(
    source="linkedin/Liger-Kernel#678 (of a cross entropy)",
    caught_by=("elementwise_gradients.upstream",),
)
def first_upstream_for_all(call: Poisson) -> Tensor:
    """Unreduced, the first upstream gradient scales every element's."""
    loss = reduced(call, call.losses())
    return altered(loss, lambda grad: grad.flatten()[:1].expand(grad.numel()).reshape(grad.shape))


@binary_mutant(source=FORMULA, caught_by=("elementwise.mean",))
def mean_over_the_batch(call: Binary) -> Tensor:
    """The mean divides by the length of the first dimension."""
    losses = call.losses()
    if call.reduction != "mean" or not losses.dim():
        return reduced(call, losses)
    return (losses.sum() / len(losses)).to(call.input.dtype)


@binary_mutant(source=FORMULA, caught_by=("elementwise.any_count",))
def ragged_block_dropped(call: Binary) -> Tensor:
    """Of more than 16 elements those beyond the last whole block of 8 are left out of sums."""
    losses = call.losses()
    if call.reduction == "none" or losses.numel() <= 16:
        return reduced(call, losses)
    whole = losses.flatten()[: losses.numel() // 8 * 8].sum()
    if call.reduction == "mean":
        whole = whole / losses.numel()
    return whole.to(call.input.dtype)


@binary_mutant(
    source="pytorch/pytorch#15870 (of a cross entropy)", caught_by=("elementwise.empty_batch",)
)
def largest_logit_looked_for(call: Binary) -> Tensor:
    """The largest logit is looked for, which an empty batch has not."""
    call.input.detach().max()
    return reduced(call, call.losses())


@binary_mutant(
    source="fla-org/flash-linear-attention@0fd3c681 (of a cross entropy)",
    caught_by=("elementwise.input_layout",),
)
def logits_read_as_contiguous(call: Binary) -> Tensor:
    """Logits are read as if they were contiguous."""
    return reduced(call, call.but(input=read_as_contiguous(call.input)).losses())


@binary_mutant(source=FORMULA, caught_by=("elementwise.wider_dtype",))
def target_read_with_the_width_of_the_input(call: Binary) -> Tensor:
    """A target of a wider dtype is read as the input's: halves of numbers."""
    target = call.target
    if target.is_floating_point() and target.dtype.itemsize > call.input.dtype.itemsize:
        halves = target.detach().contiguous().flatten().view(call.input.dtype)
        target = halves[: target.numel()].view(target.shape)
    return reduced(call, call.but(target=target).losses())


@binary_mutant(source="google-deepmind/optax@a77d69c4", caught_by=("elementwise.integer_targets",))
def integer_target_negated(call: Binary) -> Tensor:
    """Integer targets are negated in their own type and width: -1 is 255 in 8 bits."""
    if call.target.is_floating_point():
        return reduced(call, call.losses())
    minus = (-call.target.to(torch.uint8)).float()
    x = call.x
    return reduced(call, call.weighed(softplus(x) + minus * x))


@binary_mutant(
    source="Dao-AILab/quack@3e97238 (of a cross entropy)",
    caught_by=("elementwise_gradients.upstream_expanded",),
)
def upstream_read_as_dense(call: Binary) -> Tensor:
    """Of an expanded upstream gradient only the first element is there, the rest is zero."""

    def dense(grad: Tensor) -> Tensor:
        if grad.numel() < 2 or set(grad.stride()) != {0}:
            return grad
        first = grad.new_zeros(grad.numel())
        first[0] = grad.flatten()[0]
        return first.view(grad.shape)

    return altered(reduced(call, call.losses()), dense)


@binary_mutant(source=FORMULA, caught_by=("elementwise_gradients.upstream_strided",))
def upstream_read_as_contiguous(call: Binary) -> Tensor:
    """An upstream gradient is read as if it were contiguous, unless it is expanded."""

    def read(grad: Tensor) -> Tensor:
        return grad if 0 in grad.stride() else read_as_contiguous(grad)

    return altered(reduced(call, call.losses()), read)


class _TargetOnContext(torch.autograd.Function):
    """The losses of label 0 plus ``-y x``; the target is kept past version checks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor) -> Tensor:
        ctx.target = target
        return -x * widened(target)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -grads[0] * widened(ctx.target), None


@binary_mutant(
    source="Dao-AILab/quack@66d8016 (of a weight)",
    caught_by=("elementwise_gradients.changed_before_backward",),
)
def target_not_saved(call: Binary) -> Tensor:
    """The target is kept by reference: backward uses what the caller made of it since."""
    x = call.x
    if call.pos_weight is not None or call.target.requires_grad:
        return reduced(call, call.losses())
    product: Tensor = _TargetOnContext.apply(x, call.target)  # type: ignore[no-untyped-call]
    return reduced(call, call.weighed(softplus(x) + product))
