"""Binary cross entropy of logits: weight and pos_weight in the wrong place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.elements import widened
from ._elements import Binary, binary_mutant, from_labels, reduced, softplus
from ._memory import read_as_contiguous

FORMULA = "implementations of the formula by hand"


@binary_mutant(source="research/divergences.md, pitfall 6", caught_by=("bce_with_logits.weight",))
def weight_along_the_batch(call: Binary) -> Tensor:
    """Of a square input a vector of weights belongs to the rows, not to the columns."""
    weight = call.weight
    if weight is not None and weight.dim() == 1 and call.input.shape == (len(weight),) * 2:
        weight = weight.unsqueeze(1)
    return reduced(call, call.but(weight=weight).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.weighted_mean",))
def mean_divides_by_weight(call: Binary) -> Tensor:
    """The weighted mean divides by the sum of the weights."""
    losses = call.losses()
    if call.reduction != "mean" or call.weight is None:
        return reduced(call, losses)
    total = widened(call.weight).expand(losses.shape).sum()
    return (losses.sum() / total).to(call.input.dtype)


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.weighted_mean",))
def weight_after_the_mean(call: Binary) -> Tensor:
    """The mean is taken first and multiplied by the mean weight then."""
    if call.reduction != "mean" or call.weight is None:
        return reduced(call, call.losses())
    weight = widened(call.weight).expand(call.input.shape)
    return (call.but(weight=None).losses().mean() * weight.mean()).to(call.input.dtype)


@binary_mutant(
    source="pytorch/pytorch#31491 (of a cross entropy)",
    caught_by=("bce_with_logits.zero_or_negative_weight",),
)
def negative_weights_cut(call: Binary) -> Tensor:
    """Weights below zero count as zero."""
    weight = None if call.weight is None else call.weight.clamp(min=0)
    return reduced(call, call.but(weight=weight).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.pos_weight",))
def pos_weight_on_both(call: Binary) -> Tensor:
    """pos_weight scales the whole loss of an element, label 0 or 1."""
    if call.pos_weight is None:
        return reduced(call, call.losses())
    losses = call.but(pos_weight=None).losses()
    return reduced(call, losses * widened(call.pos_weight))


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.pos_weight_of_soft_target",))
def pos_weight_of_label_one(call: Binary) -> Tensor:
    """pos_weight applies where the target is exactly 1."""
    if call.pos_weight is None:
        return reduced(call, call.losses())
    weight = torch.where(call.target == 1, call.pos_weight, 1.0)
    return reduced(call, call.but(pos_weight=weight).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.pos_weight_of_wrong_prediction",))
def naive_with_pos_weight(call: Binary) -> Tensor:
    """With pos_weight the loss is -log(sigmoid), which is infinite far out."""
    x = call.x
    if call.pos_weight is None:
        return reduced(call, call.losses())
    near = x.abs() < 8
    below = torch.where(near, softplus(-x), -torch.log(torch.sigmoid(x)))
    above = torch.where(near, softplus(x), -torch.log(1 - torch.sigmoid(x)))
    return from_labels(call, below, above)


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.pos_weight_of_zero",))
def pos_weight_of_zero_is_none(call: Binary) -> Tensor:
    """A pos_weight of zero counts as one, as where none is given."""
    if call.pos_weight is None:
        return reduced(call, call.losses())
    weight = torch.where(call.pos_weight == 0, 1.0, call.pos_weight)
    return reduced(call, call.but(pos_weight=weight).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.both_weights",))
def weight_shadows_pos_weight(call: Binary) -> Tensor:
    """Where a weight is given, pos_weight is not looked at."""
    pos_weight = call.pos_weight if call.weight is None else None
    return reduced(call, call.but(pos_weight=pos_weight).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.weight_layout",))
def weights_read_as_contiguous(call: Binary) -> Tensor:
    """Both weights are read as if they were contiguous."""
    read = {
        name: read_as_contiguous(weight)
        for name, weight in (("weight", call.weight), ("pos_weight", call.pos_weight))
        if weight is not None
    }
    return reduced(call, call.but(**read).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.weights_unchanged",))
def pos_weight_clamped_in_place(call: Binary) -> Tensor:
    """The caller's pos_weight is limited to 1, once the loss is computed."""
    loss = reduced(call, call.losses())
    if call.pos_weight is not None:
        call.pos_weight.data.clamp_(max=1.0)
    return loss


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.pos_weight_target_gradient",))
def target_detached_in_pos_weight(call: Binary) -> Tensor:
    """What pos_weight scales takes the target for a constant."""
    if call.pos_weight is None:
        return reduced(call, call.losses())
    x, y = call.x, call.y
    positive = y.detach() * widened(call.pos_weight) * softplus(-x)
    return reduced(call, call.weighed(positive + (1 - y) * softplus(x)))


@binary_mutant(source="parameters cast with the model", caught_by=("dtypes.every_digit_counts",))
def pos_weight_in_bfloat16(call: Binary) -> Tensor:
    """pos_weight passes through bfloat16, whatever the logits are."""
    if call.pos_weight is None:
        return reduced(call, call.losses())
    narrow = call.pos_weight.bfloat16().to(call.pos_weight.dtype)
    return reduced(call, call.but(pos_weight=narrow).losses())


@binary_mutant(
    source="an operator that walks memory in the order of its strides",
    caught_by=("elementwise.same_layout",),
)
def losses_in_the_order_of_memory(call: Binary) -> Tensor:
    """Of tensors transposed alike the losses come in the order of memory."""
    losses = reduced(call, call.losses())
    same = call.input.stride() == call.target.stride() and call.weight is call.pos_weight is None
    if call.reduction != "none" or not same or call.input.is_contiguous():
        return losses
    order = sorted(range(losses.dim()), key=call.input.stride().__getitem__, reverse=True)
    return losses.permute(order).reshape(losses.shape)


@binary_mutant(
    source="sibling of pytorch/pytorch#59477",
    caught_by=("bce_with_logits.second_order",),
)
def curvature_without_pos_weight(call: Binary) -> Tensor:
    """The second derivative is that without pos_weight."""
    if call.pos_weight is None or not call.input.requires_grad or call.target.requires_grad:
        return reduced(call, call.losses())
    here = call.x.detach().requires_grad_()
    bare = call.but(pos_weight=None)
    with torch.enable_grad():
        lacking = call.but(input=here).losses() - bare.but(input=here).losses()
        (slope,) = torch.autograd.grad(lacking.sum(), here)
    # What pos_weight adds is linear from here: value and gradient are right.
    along = (call.x - here.detach()) * slope
    return reduced(call, bare.losses() + lacking.detach() + along)
