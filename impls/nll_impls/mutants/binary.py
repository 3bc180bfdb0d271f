"""Binary cross entropy of logits: unstable formulas, weights in the wrong place."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import replaced
from ._elements import Binary, binary_mutant, from_labels, reduced, softplus

FORMULA = "implementations of the formula by hand"


@binary_mutant(
    source="pytorch/pytorch#1792 (fixed by #2195)",
    caught_by=("bce_with_logits.gradient_at_zero",),
)
def absolute_value_at_zero(call: Binary) -> Tensor:
    """max(x, 0) - x y + log(1 + exp(-|x|)): at 0 clamp and abs have derivatives of their own."""
    x = call.x
    tail = torch.log1p(torch.exp(-x.abs()))
    return from_labels(call, (-x).clamp(min=0) + tail, x.clamp(min=0) + tail)


@binary_mutant(
    source="keras-team/keras@28f35465, @0c1af1d8",
    caught_by=("bce_with_logits.wrong_prediction",),
)
def probability_clipped(call: Binary) -> Tensor:
    """The sigmoid is kept at 1e-7 from 0 and 1: the loss of wrong predictions is limited."""
    x = call.x
    limit = softplus(torch.tensor(16.118, dtype=x.dtype))
    return from_labels(call, softplus(-x).clamp(max=limit), softplus(x).clamp(max=limit))


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.huge_logits",))
def exponential_overflows(call: Binary) -> Tensor:
    """log(1 + exp(x)) is computed as it stands, but for x of less than -8."""
    x = call.x

    def naive(x: Tensor) -> Tensor:
        return torch.where(x < -8, softplus(x), torch.log1p(x.exp()))

    return from_labels(call, naive(-x), naive(x))


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.right_prediction",))
def probability_in_16_bits(call: Binary) -> Tensor:
    """Where the prediction is right by 4 or more, the loss is -log of a probability in float16."""
    x = call.x

    def rounded(x: Tensor) -> Tensor:
        p = (-x).sigmoid().half().to(x.dtype)
        return replaced(softplus(x), torch.where(x < -4, -p.log(), softplus(x)).detach())

    return from_labels(call, rounded(-x), rounded(x))


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.tiny_logits",))
def small_logits_are_zero(call: Binary) -> Tensor:
    """Logits below 2**-8 are taken for undecided: loss log 2 and no gradient."""
    return reduced(call, torch.where(call.input.abs() < 2**-8, _undecided(call), call.losses()))


def _undecided(call: Binary) -> Tensor:
    return call.but(input=torch.zeros_like(call.input)).losses()


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.soft_target",))
def soft_target_rounded(call: Binary) -> Tensor:
    """Targets are compared with 1/2: nothing between 0 and 1 is left of them."""
    y = call.target.detach()
    hard = call.target + ((y > 0.5).to(y.dtype) - y)
    return reduced(call, call.but(target=hard).losses())


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.gradient",))
def gradient_of_a_square(call: Binary) -> Tensor:
    """Backward has an extra factor p (1 - p), as if the logits were probabilities."""
    loss, x = call.losses(), call.input
    p = x.detach().float().sigmoid()
    scaled = x.detach() + (x - x.detach()) * (4 * p * (1 - p)).to(x.dtype)
    return reduced(call, loss.detach() + _gradient_alone(call.but(input=scaled)))


def _gradient_alone(call: Binary) -> Tensor:
    losses = call.losses()
    return losses - losses.detach()


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.element_loss", "values.plain_mean"))
def labels_swapped(call: Binary) -> Tensor:
    """Labels 0 and 1 are taken for each other, pos_weight stays where it was."""
    x = call.x
    return reduced(call, call.weighed(call.mixed(softplus(-x), softplus(x)) + _swap(call)))


def _swap(call: Binary) -> Tensor:
    x, y = call.x, call.y
    return (2 * y - 1) * x


@binary_mutant(source=FORMULA, caught_by=("bce_with_logits.target_shape",))
def target_broadcast(call: Binary) -> Tensor:
    """A target of another shape is broadcast: (N, 1) beside (N,) becomes (N, N)."""
    shape = (call.input + call.target).shape
    wide = call.but(input=call.input.expand(shape), target=call.target.expand(shape))
    return reduced(call, wide.losses())


@binary_mutant(
    source="masks of labels that are no labels", caught_by=("bce_with_logits.any_target",)
)
def targets_beyond_one_left_out(call: Binary) -> Tensor:
    """Elements whose target is below 0 or above 1 cost nothing."""
    y = call.target
    beyond = (y < 0) | (y > 1)
    return reduced(call, torch.where(beyond, 0.0, call.losses()))
