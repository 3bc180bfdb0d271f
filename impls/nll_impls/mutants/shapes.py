"""Shapes are guessed, assumed or not checked."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ._base import Call, cross_entropy, kept, mutant, reduced, row_losses


@mutant(source="pytorch/pytorch#722", caught_by=("errors.target_shape",))
def target_of_any_shape(call: Call) -> Tensor:
    """A target of another shape is flattened, and cut or read past its end."""
    rows = call.input.shape[:1] + call.input.shape[2:] if call.input.dim() > 1 else ()
    if call.soft or call.target.shape == rows:
        return cross_entropy(call)
    flat = call.target.new_zeros(rows, dtype=torch.int64).flatten()
    found = call.target.flatten()[: flat.numel()]
    flat[: found.numel()] = found
    return cross_entropy(call.but(target=flat.view(rows)))


@mutant(
    source="pytorch/pytorch#15870, #31472, #134431; linkedin/Liger-Kernel#588",
    caught_by=("shapes.empty_batch",),
)
def empty_batch_refused(call: Call) -> Tensor:
    """The largest target is looked for first, which an empty batch has not."""
    call.target.detach().max()
    return cross_entropy(call)


@mutant(
    source="keras-team/keras#8624", caught_by=("shapes.spatial_input", "shapes.spatial_gradient")
)
def flat_from_four_dimensions(call: Call) -> Tensor:
    """Unreduced, the loss of an input of four or more dimensions comes back flat."""
    loss = cross_entropy(call)
    return loss.flatten() if call.input.dim() >= 4 and call.reduction == "none" else loss


@mutant(
    source="research/divergences.md, pitfall 8",
    caught_by=("shapes.spatial_input", "shapes.spatial_gradient"),
)
def softmax_over_last_axis_if_equal(call: Call) -> Tensor:
    """Where the last dimension is as long as the classes', the softmax runs over it."""
    rows = call.rows()
    if call.input.dim() < 3 or call.input.shape[1] != call.input.shape[-1]:
        return cross_entropy(call)
    log_probabilities = torch.log_softmax(rows.logits, dim=-2)
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


@mutant(source="intel/torch-xpu-ops#4723", caught_by=("shapes.many_positions",))
def sample_offset_in_15_bits(call: Call) -> Tensor:
    """Reduced, images that start beyond 2**15 elements of a batch get no gradient."""
    loss = cross_entropy(call)
    if call.input.dim() < 3 or call.reduction == "none" or not call.input.numel():
        return loss
    starts = torch.arange(len(call.input), device=call.input.device) * call.input[0].numel()
    reached = (starts < 2**15).view(-1, *[1] * (call.input.dim() - 1))
    seen = torch.where(reached, call.input, call.input.detach())
    return cross_entropy(call.but(input=seen))


@mutant(source="log_p.squeeze() before the lookup of targets", caught_by=("call.simplest",))
def batch_of_one_squeezed(call: Call) -> Tensor:
    """A batch of one row of logits loses its first dimension, and its targets cannot be found."""
    input = call.input
    return cross_entropy(call.but(input=input.squeeze(0)) if input.dim() == 2 else call)


@mutant(source="segmentation losses for several scales", caught_by=("errors.target_shape",))
def logits_resized_to_the_target(call: Call) -> Tensor:
    """Logits of another image size than the target are interpolated instead of refused."""
    sizes = call.target.shape[1:]
    if call.input.dim() != 4 or call.target.dim() != 3 or call.input.shape[2:] == sizes:
        return cross_entropy(call)
    return cross_entropy(call.but(input=functional.interpolate(call.input, sizes, mode="bilinear")))
