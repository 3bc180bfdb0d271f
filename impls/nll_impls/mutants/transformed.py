"""A transformation of the call, or a second derivative, differs from what the call says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._base import (
    Call,
    altered,
    counted,
    cross_entropy,
    kept,
    mutant,
    reduced,
    row_losses,
    shares,
    spread,
)


class _Same(torch.autograd.Function):
    """A tensor as it is; the classes below differ in one transformation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _Forward(_Same):
    """The logits; their tangent counts classes at -inf, 0 times infinity."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        (ctx.logits,) = inputs

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        nothing: Tensor = 0.0 * ctx.logits.detach()
        return tangents[0] + nothing


@mutant(source="google-deepmind/optax#1762", caught_by=("transforms.jvp",))
def tangent_of_impossible_class(call: Call) -> Tensor:
    """The forward-mode derivative is NaN where a class is impossible."""
    # torch declares no types for apply
    logits: Tensor = _Forward.apply(call.input)  # type: ignore[no-untyped-call]
    return cross_entropy(call.but(input=logits))


class _WithoutTangent(_Same):
    """A tensor that has no derivative in forward mode."""

    @staticmethod
    def jvp(_ctx: Any, *tangents: Tensor) -> Tensor:
        return torch.zeros_like(tangents[0])


@mutant(source="torch.nn.functional.linear_cross_entropy, chunked", caught_by=("transforms.jvp",))
def no_derivative_in_forward_mode(call: Call) -> Tensor:
    """The forward-mode derivative is zero, where it should be right or refused."""
    # torch declares no types for apply, here and below
    result: Tensor = _WithoutTangent.apply(cross_entropy(call))  # type: ignore[no-untyped-call]
    return result


@mutant(
    source="a jvp written for the plain call (held-out loss of a blind author)",
    caught_by=("transforms.jvp_with_options",),
)
def tangent_of_smoothing_dropped(call: Call) -> Tensor:
    """The forward-mode derivative lacks the part of label smoothing."""
    if call.label_smoothing == 0.0:
        return cross_entropy(call)
    rows = call.rows()
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    hard = shares(call.but(label_smoothing=0.0).rows()) * (1.0 - call.label_smoothing)
    smooth = shares(rows) - hard
    # torch declares no types for apply
    still: Tensor = _WithoutTangent.apply(log_probabilities)  # type: ignore[no-untyped-call]
    return reduced(rows, kept(rows, spread(hard, log_probabilities) + spread(smooth, still)))


@mutant(source="google-deepmind/optax#1762", caught_by=("transforms.jvp_of_target",))
def tangent_of_target_dropped(call: Call) -> Tensor:
    """The forward-mode derivative by class probabilities is zero."""
    if not call.soft:
        return cross_entropy(call)
    target: Tensor = _WithoutTangent.apply(call.target)  # type: ignore[no-untyped-call]
    return cross_entropy(call.but(target=target))


class _Normalizer(torch.autograd.Function):
    """Log-sum-exp and softmax of rows (*rows, c); the latter's tangent is zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, Tensor]:
        return logits.logsumexp(-1), logits.softmax(-1)

    @staticmethod
    def setup_context(ctx: Any, _inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        total, each = grads
        pull = total.unsqueeze(-1) + each - (p * each).sum(-1, keepdim=True)
        gradient: Tensor = p * pull
        return gradient

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, Tensor]:
        (p,) = ctx.saved_tensors
        return (p * tangents[0]).sum(-1), torch.zeros_like(p)


@mutant(source="pytorch/pytorch#79609", caught_by=("gradients.forward_over_reverse",))
def tangent_of_gradient_dropped(call: Call) -> Tensor:
    """The gradient has no forward-mode derivative but zero."""
    rows = call.rows()
    if not rows.logits.numel():
        return cross_entropy(call)
    below = rows.logits - rows.logits.detach().amax(-1, keepdim=True)
    # torch declares no types for apply
    total, _ = _Normalizer.apply(below)  # type: ignore[no-untyped-call]
    return reduced(rows, kept(rows, row_losses(rows, below - total.unsqueeze(-1))))


@mutant(source="pytorch/pytorch#59477", caught_by=("gradients.second_order_squared",))
def upstream_constant_in_second_order(call: Call) -> Tensor:
    """A second backward takes the upstream gradient for a constant."""
    return altered(cross_entropy(call), torch.Tensor.detach)


@mutant(source="pytorch/pytorch#65466", caught_by=("gradients.second_order_everywhere",))
def no_mixed_second_derivative(call: Call) -> Tensor:
    """The gradient of the logits has no derivative by the class probabilities, nor the reverse."""
    rows = call.rows()
    if not (rows.soft and call.target.requires_grad):
        return cross_entropy(call)
    share, log_p = shares(rows), torch.log_softmax(rows.logits, -1)
    losses = spread(share.detach(), log_p) + spread(share - share.detach(), log_p.detach())
    return reduced(rows, kept(rows, losses))


class _Unreduced(_Same):
    """Losses with a rule for vmap that averages over the batch."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(
        _info: Any, in_dims: tuple[int | None, ...], losses: Tensor
    ) -> tuple[Tensor, int | None]:
        (axis,) = in_dims
        if axis is None:
            return losses, None
        return losses.mean(axis, keepdim=True).expand(losses.shape), axis


@mutant(
    source="research/divergences.md, pitfall 20",
    caught_by=("transforms.vmap",),
)
def averaged_under_vmap(call: Call) -> Tensor:
    """Under vmap the unreduced losses are averaged over the batch."""
    loss = cross_entropy(call)
    if call.reduction != "none":
        return loss
    result: Tensor = _Unreduced.apply(loss)  # type: ignore[no-untyped-call]
    return result


class _MeanCount(torch.autograd.Function):
    """A count of rows, under vmap that of all batches together."""

    generate_vmap_rule = False

    @staticmethod
    def forward(count: Tensor) -> Tensor:
        return count.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def vmap(_info: Any, _in_dims: tuple[int], count: Tensor) -> tuple[Tensor, None]:
        return count.mean(), None


@mutant(
    source="batching rules that fold the batches into the rows",
    caught_by=("transforms.vmap_over_batches",),
)
def averaged_count_under_vmap(call: Call) -> Tensor:
    """Under vmap the mean of every batch divides by the average number of counted rows."""
    rows = call.rows()
    if rows.reduction != "mean" or rows.soft or rows.weight is not None:
        return cross_entropy(call)
    own = counted(rows).to(rows.logits.dtype)
    # torch declares no types for Function.apply
    count: Tensor = _MeanCount.apply(own)  # type: ignore[no-untyped-call]
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source="pytorch/pytorch#105736, #90916", caught_by=("transforms.vmap",))
def negative_ignored_under_vmap(call: Call) -> Tensor:
    """Under vmap a negative ignore index is a class, counted from the end."""
    # torch has no public way to ask
    batched = torch._C._functorch.is_batchedtensor(call.target)  # noqa: SLF001
    if not batched or call.ignore_index >= 0 or call.soft:
        return cross_entropy(call)
    return cross_entropy(call.but(target=call.target % call.input.shape[-1]))


@mutant(
    source="linkedin/Liger-Kernel#1338, pytorch/pytorch#95794 (only compiled)",
    caught_by=("transforms.compiled",),
)
def compiled_mean_is_off(call: Call) -> Tensor:
    """Compiled, the mean divides by one row too many."""
    rows = call.rows()
    count = counted(rows)
    if torch.compiler.is_compiling():
        count = count + 1
    return reduced(rows, kept(rows, row_losses(rows)), count)


@mutant(source="type(weight) is torch.Tensor", caught_by=("transforms.parameters",))
def parameters_overlooked(call: Call) -> Tensor:
    """A weight in a Parameter is taken for none."""
    plain = call.weight is None or type(call.weight) is Tensor
    return cross_entropy(call if plain else call.but(weight=None))


class _Smoothed(torch.nn.Module):
    """A loss that smooths in training only."""

    def forward(self, call: Call) -> Tensor:
        """The loss of a call."""
        return cross_entropy(call if self.training else call.but(label_smoothing=0.0))


@mutant(source="if self.training:", caught_by=("transforms.evaluation",))
def smoothed_in_training_only(call: Call) -> Tensor:
    """A module in eval() leaves the label smoothing out."""
    loss: Tensor = _Smoothed()(call)
    return loss


class _FirstOfBatch(_Same):
    """A tensor as it is; under vmap all are taken for the first."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int | None], tensor: Tensor) -> tuple[Tensor, None]:
        """The first alone."""
        first = tensor if in_dims[0] is None else tensor.select(in_dims[0], 0)
        return first.clone(), None


class _FirstGradient(_Same):
    """A tensor as it is, whose gradient under vmap is that of the first."""

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        # torch declares no types for apply
        return _FirstOfBatch.apply(grads[0])  # type: ignore[no-untyped-call,no-any-return]


@mutant(
    source="a vmap rule that forgets the batch, in backward",
    caught_by=("transforms.per_sample_gradients",),
)
def first_gradient_for_all(call: Call) -> Tensor:
    """Of gradients per sample the first is taken for all."""
    # torch declares no types for apply
    logits: Tensor = _FirstGradient.apply(call.input)  # type: ignore[no-untyped-call]
    return cross_entropy(call.but(input=logits))


@mutant(
    source="a gradient that masks its value and not its derivative",
    caught_by=("gradients.second_order",),
)
def curvature_of_ignored_rows(call: Call) -> Tensor:
    """Ignored rows have no gradient, but a second derivative."""
    rows = call.rows()
    x = call.logits()
    there = torch.where(x.isfinite(), x - x.detach(), 0.0)
    return reduced(rows, torch.where(rows.kept, row_losses(rows), there.square().sum(-1)))


class _FirstDimension(_Same):
    """A tensor as it is; under vmap the batch is taken for its first dimension."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(_info: Any, _in_dims: tuple[int | None], tensor: Tensor) -> tuple[Tensor, int]:
        """As it lies."""
        return tensor.clone(), 0


@mutant(
    source="a vmap rule that does not look at in_dims",
    caught_by=("transforms.vmap_over_columns",),
)
def batch_in_the_first_dimension(call: Call) -> Tensor:
    """Under vmap the logits' batch is taken for their first dimension, wherever it is."""
    # torch declares no types for apply
    logits: Tensor = _FirstDimension.apply(call.input)  # type: ignore[no-untyped-call]
    return cross_entropy(call.but(input=logits))


class _Unmapped(torch.autograd.Function):
    """A tensor as it is; under vmap, where it is not mapped, the first entry for all."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(
        _info: Any, in_dims: tuple[int | None, int | None], tensor: Tensor, _of: Tensor
    ) -> tuple[Tensor, int | None]:
        """As if the classes' dimension were that of the batch."""
        if in_dims[0] is not None:
            return tensor.clone(), in_dims[0]
        return tensor[:1].expand_as(tensor).clone(), None

    @staticmethod
    def forward(tensor: Tensor, _of: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


@mutant(
    source="a vmap rule that takes every argument for mapped",
    caught_by=("transforms.vmap_with_options", "transforms.per_sample_gradients"),
)
def shared_weights_under_vmap(call: Call) -> Tensor:
    """Under vmap weights that all rows share are all the first."""
    if call.weight is None:
        return cross_entropy(call)
    # torch declares no types for apply
    weight: Tensor = _Unmapped.apply(call.weight, call.input.detach())  # type: ignore[no-untyped-call]
    return cross_entropy(call.but(weight=weight))


class _MeanOfTargets(torch.autograd.Function):
    """A loss as it is; under vmap over targets alone the mean over all of them."""

    @staticmethod
    def forward(loss: Tensor, _input: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None

    @staticmethod
    def vmap(
        _info: Any, in_dims: tuple[int | None, int | None], loss: Tensor, _input: Tensor
    ) -> tuple[Tensor, int | None]:
        """Logits that are not mapped are one batch, whose loss is one number."""
        if in_dims[0] is None or in_dims[1] is not None:
            return loss.clone(), in_dims[0]
        return loss.mean(in_dims[0], keepdim=True).expand_as(loss).clone(), in_dims[0]


@mutant(
    source="a batching rule that merges the batch with the rows",
    caught_by=("transforms.vmap_over_targets",),
)
def targets_averaged_under_vmap(call: Call) -> Tensor:
    """Under vmap over targets alone each loss is the mean of all."""
    loss = cross_entropy(call)
    if call.input.requires_grad:
        return loss
    # torch declares no types for apply
    return _MeanOfTargets.apply(loss, call.input)  # type: ignore[no-untyped-call,no-any-return]


@mutant(source="second derivatives written for shares of 1", caught_by=("gradients.second_order",))
def curvature_of_whole_shares(call: Call) -> Tensor:
    """The second derivative takes class probabilities to sum to one, also when weighted."""
    rows = call.rows()
    if not rows.soft or call.target.requires_grad:
        return cross_entropy(call)
    share = shares(rows)
    log_p = torch.log_softmax(rows.logits, dim=-1)
    total = share.sum(-1)
    # lse bends; the rest is linear: of total * lse only the first derivative keeps the total
    lse = rows.logits.logsumexp(-1)
    flat = (rows.logits - rows.logits.detach()) * log_p.detach().exp()
    missing = (total - 1.0) * (lse - lse.detach() - flat.sum(-1))
    return reduced(rows, kept(rows, spread(share, log_p) - missing))
