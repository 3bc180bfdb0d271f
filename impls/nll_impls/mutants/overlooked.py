"""Corners of the contract that no collected bug report names, each one wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Call, Saved, by_hand, cross_entropy, is_mean, mutant, replaced

SOURCE = "written from the contract, after a search for corners that no rule looked into"


@mutant(source=SOURCE, caught_by=("values.like_probabilities",))
def probabilities_recognised(call: Call) -> Tensor:
    """Rows that sum to one are taken for probabilities, and not normalised."""
    logits = call.logits()
    sums = logits.detach().sum(-1)
    looks = logits.numel() and bool(((sums - 1).abs() < 1e-3).all() and (logits >= 0).all())
    if not looks:
        return cross_entropy(call)
    return cross_entropy(call.but(input=(call.input + 1e-12).log() * 2))


@mutant(source=SOURCE, caught_by=("transforms.nothing_requires_grad", "transforms.no_grad"))
def weight_only_in_training(call: Call) -> Tensor:
    """The path for inference leaves the weight out."""
    if call.input.requires_grad or (call.soft and call.target.requires_grad):
        return cross_entropy(call)
    return cross_entropy(call.but(weight=None))


@mutant(source=SOURCE, caught_by=("transforms.no_grad",))
def gradients_switched_on(call: Call) -> Tensor:
    """Gradients are switched on for the loss and stay on."""
    loss = cross_entropy(call)
    torch.set_grad_enabled(True)
    return loss


@mutant(source=SOURCE, caught_by=("transforms.inference_mode",))
def smoothing_left_out_in_inference(call: Call) -> Tensor:
    """In inference mode labels are not smoothed."""
    if torch.is_inference_mode_enabled():
        return cross_entropy(call.but(label_smoothing=0.0))
    return cross_entropy(call)


@mutant(source=SOURCE, caught_by=("weight.single_row",))
def single_row_not_normalised(call: Call) -> Tensor:
    """A batch of one keeps its weight in the mean: the quotient is thought to be one."""
    if call.target.shape[:1] == (1,) and call.target.dim() == 1 and call.weight is not None:
        return cross_entropy(call.but(reduction="sum" if is_mean(call.rows()) else call.reduction))
    return cross_entropy(call)


@mutant(source=SOURCE, caught_by=("weight.rows", "weight.gradient", "weight.spatial_rows"))
def weight_in_bfloat16(call: Call) -> Tensor:
    """Weights are kept in bfloat16."""
    if call.weight is None:
        return cross_entropy(call)
    return cross_entropy(call.but(weight=call.weight.bfloat16().to(call.weight.dtype)))


@mutant(source=SOURCE, caught_by=("soft_target.all_bits",))
def probabilities_in_bfloat16(call: Call) -> Tensor:
    """Class probabilities are kept in bfloat16."""
    if not call.soft:
        return cross_entropy(call)
    rounded = call.target.detach().bfloat16().to(call.target.dtype)
    return cross_entropy(call.but(target=call.target + (rounded - call.target.detach())))


@mutant(source=SOURCE, caught_by=("soft_target.ignore_index_is_for_indices",))
def class_ignored_among_probabilities(call: Call) -> Tensor:
    """With probabilities the class that ignore_index names is left out."""
    classes = call.logits().shape[-1]
    if not call.soft or not -classes <= call.ignore_index < classes:
        return cross_entropy(call)
    keep = call.target.new_ones(classes)
    keep[call.ignore_index] = 0.0
    axis = 0 if call.target.dim() == 1 else 1
    kept = (call.target.movedim(axis, -1) * keep).movedim(-1, axis)
    return cross_entropy(call.but(target=kept, ignore_index=-100))


@mutant(source=SOURCE, caught_by=("dtypes.high_bytes",))
def bytes_read_with_a_sign(call: Call) -> Tensor:
    """Targets in one byte are read as if its first bit were a sign."""
    if call.target.dtype != torch.uint8:
        return cross_entropy(call)
    classes = call.input.shape[0 if call.input.dim() == 1 else 1]
    return cross_entropy(call.but(target=call.target.to(torch.int8).long() % classes))


@mutant(source=SOURCE, caught_by=("shapes.many_positions",))
def ragged_positions_dropped(call: Call) -> Tensor:
    """The positions of an image beyond the last full block of 16 do not count."""
    if call.soft or call.target.dim() < 2 or call.target[0].numel() <= 16:
        return cross_entropy(call)
    end = call.target[0].numel() // 16 * 16
    target = call.target.flatten(1).clone()
    target[:, end:] = call.ignore_index
    return cross_entropy(call.but(target=target.view(call.target.shape)))


@mutant(source=SOURCE, caught_by=("layout.channels_last",))
def channels_last_read_as_first(call: Call) -> Tensor:
    """Images in torch.channels_last are read as if their channels came first."""
    input = call.input
    last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
    if not last or input.is_contiguous():
        return cross_entropy(call)
    return cross_entropy(call.but(input=input.permute(0, 2, 3, 1).reshape(input.shape)))


@mutant(source=SOURCE, caught_by=("layout.every_tensor",))
def one_stride_for_both(call: Call) -> Tensor:
    """Where neither is contiguous, targets are read with a stride of one."""
    target = call.target
    if call.soft or target.dim() != 1 or target.is_contiguous() or call.input.is_contiguous():
        return cross_entropy(call)
    return cross_entropy(call.but(target=target.as_strided(target.shape, (1,))))


def _finite(saved: Saved, grad: Tensor) -> Tensor:
    return torch.nan_to_num(saved.gradient(grad), posinf=0.0, neginf=0.0)


@mutant(source=SOURCE, caught_by=("gradients.upstream_nonfinite",))
def overflow_hidden(call: Call) -> Tensor:
    """Entries of the gradient that are not finite are replaced by zero."""
    return by_hand(call, _finite)


@mutant(source=SOURCE, caught_by=("ignore_index.all_ignored_mean", "ignore_index.all_ignored_sum"))
def lone_ignored_row_counts_from_the_end(call: Call) -> Tensor:
    """The target of a batch of one picks its class as Python does, also where it is ignored."""
    alone = not call.soft and call.input.dim() == 2 and call.target.shape == (1,)
    if not alone or not -call.input.shape[1] <= int(call.target) < 0:
        return cross_entropy(call)
    return cross_entropy(call.but(target=call.target + call.input.shape[1]))


@mutant(source=SOURCE, caught_by=("soft_target.thin",))
def small_shares_dropped(call: Call) -> Tensor:
    """Class probabilities below one in a thousand are not stored."""
    if not call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(target=torch.where(call.target < 1e-3, 0.0, call.target)))


@mutant(source=SOURCE, caught_by=("gradients.second_order",))
def curvature_without_weight(call: Call) -> Tensor:
    """The second derivative forgets the class weights."""
    weight = call.weight
    plain = call.soft or weight is None or weight.requires_grad
    if plain or not (torch.is_grad_enabled() and call.input.requires_grad):
        return cross_entropy(call)
    right = cross_entropy(call)
    # The same first derivative, by an expression whose second one is that of no weights.
    unweighted = cross_entropy(call.but(weight=None))
    (first,) = torch.autograd.grad(right.sum(), call.input, retain_graph=True)
    (other,) = torch.autograd.grad(unweighted.sum(), call.input, retain_graph=True)
    if right.dim():
        return right
    slope = ((first - other).detach() * call.input).sum()
    return replaced(unweighted + slope, right.detach())
