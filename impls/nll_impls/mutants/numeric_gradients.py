"""The loss is right, its gradient is not."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ._base import Call, Saved, altered, by_hand, cross_entropy, mutant

SOURCE = "backward kernels written by hand"
ENTRY = ("gradients.every_entry", "gradients.confident")


def _inner(call: Call, inner: Callable[[Saved], Tensor]) -> Tensor:
    """Rows' derivatives from ``inner``, scaled as they should be."""
    return by_hand(call, lambda saved, grad: saved.upstream(grad).unsqueeze(-1) * inner(saved))


def _from_p(call: Call, change: Callable[[Tensor], Tensor]) -> Tensor:
    return _inner(
        call,
        lambda saved: change(saved.probabilities) * saved.share.sum(-1, keepdim=True) - saved.share,
    )


@mutant(source=SOURCE, caught_by=ENTRY)
def p_in_bfloat16(call: Call) -> Tensor:
    """Probabilities are kept for backward in bfloat16."""
    return _from_p(call, lambda p: p.bfloat16().to(p.dtype))


@mutant(source=SOURCE, caught_by=ENTRY)
def p_in_float16(call: Call) -> Tensor:
    """Probabilities are kept for backward in float16."""
    return _from_p(call, lambda p: p.half().to(p.dtype))


@mutant(source=SOURCE, caught_by=("gradients.upstream_scale",))
def upstream_left_out(call: Call) -> Tensor:
    """What flows back is taken for one."""
    return by_hand(call, lambda saved, grad: saved.gradient(torch.ones_like(grad)))


@mutant(source="Liger-Kernel#1298", caught_by=("gradients.upstream_rows",))
def upstream_of_the_first_row(call: Call) -> Tensor:
    """Every row is scaled by what flows back to the first."""

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        first = grad.reshape(-1)[:1].expand(grad.numel()).reshape(grad.shape)
        return saved.gradient(first)

    return by_hand(call, derivative)


@mutant(source=SOURCE, caught_by=("weight.gradient", "weight.rows"))
def p_not_weighted(call: Call) -> Tensor:
    """The weight scales the target's part of the gradient alone."""
    return _inner(
        call,
        lambda saved: (
            saved.probabilities * (saved.share != 0).any(-1, keepdim=True) - saved.share
            if call.weight is not None and not call.soft
            else saved.inner()
        ),
    )


@mutant(source=SOURCE, caught_by=("gradients.every_class", "gradients.large_vocabulary"))
def last_class_gets_none(call: Call) -> Tensor:
    """The last class has no gradient."""

    def inner(saved: Saved) -> Tensor:
        gradient = saved.inner()
        return torch.cat([gradient[..., :-1], torch.zeros_like(gradient[..., -1:])], -1)

    return _inner(call, inner)


@mutant(source=SOURCE, caught_by=("gradients.every_class", "gradients.large_vocabulary"))
def ragged_block_gets_none(call: Call) -> Tensor:
    """Classes beyond the last whole block of 64 have no gradient."""

    def inner(saved: Saved) -> Tensor:
        gradient = saved.inner()
        classes = gradient.shape[-1]
        if classes > 64:
            whole = classes // 64 * 64
            gradient = torch.cat(
                [gradient[..., :whole], torch.zeros_like(gradient[..., whole:])], -1
            )
        return gradient

    return _inner(call, inner)


@mutant(source=SOURCE, caught_by=("gradients.confident", "gradients.wrong"))
def small_entries_cut(call: Call) -> Tensor:
    """Entries below 1e-6 are set to zero."""
    return _inner(call, lambda saved: torch.where(saved.inner().abs() < 1e-6, 0.0, saved.inner()))


@mutant(source=SOURCE, caught_by=("gradients.upstream_scale", "gradients.wrong"))
def clipped_to_one(call: Call) -> Tensor:
    """Entries are clipped to [-1, 1] after the upstream gradient."""
    return by_hand(call, lambda saved, grad: saved.gradient(grad).clamp(-1.0, 1.0))


@mutant(source="Liger-Kernel#1329", caught_by=("gradients.confident", "gradients.every_entry"))
def target_subtracted_in_bfloat16(call: Call) -> Tensor:
    """One is subtracted from the target's probability in bfloat16."""

    def inner(saved: Saved) -> Tensor:
        right = saved.inner()
        p = saved.probabilities.bfloat16()
        low = (p - saved.share.bfloat16()).to(right.dtype)
        return torch.where(saved.share == 1.0, low, right)

    return _inner(call, inner)


@mutant(source=SOURCE, caught_by=("label_smoothing.gradient", "label_smoothing.rows"))
def smoothed_by_one_class_less(call: Call) -> Tensor:
    """The gradient spreads eps / (C - 1), the loss eps / C."""
    if call.soft or not call.label_smoothing:
        return by_hand(call)

    def inner(saved: Saved, eps: float) -> Tensor:
        classes = saved.share.shape[-1]
        weight = 1.0 if call.weight is None else call.weight.to(saved.share.dtype)
        more = eps / max(classes - 1, 1) - eps / classes
        return saved.inner() - more * weight

    return _inner(call, functools.partial(inner, eps=call.label_smoothing))


@mutant(
    source=SOURCE,
    caught_by=("ignore_index.zero_gradient", "ignore_index.default"),
)
def ignored_rows_get_p(call: Call) -> Tensor:
    """Rows that are ignored get the gradient of the sum."""
    right = by_hand(call)
    if call.soft:
        return right
    rows = call.rows()
    leak = call.logits().logsumexp(-1)
    leak = torch.where(rows.kept, 0.0, leak).nan_to_num(0.0, 0.0, 0.0)
    if rows.reduction == "none":
        return right + (leak - leak.detach()).reshape(right.shape).to(right.dtype)
    total = leak.sum()
    return right + (total - total.detach()).to(right.dtype)


@mutant(
    source="losses that compute the gradient in forward, in the logits' dtype",
    caught_by=("gradients.loss_scale",),
    dtypes=("float16",),
)
def float16_before_the_loss_scale(call: Call) -> Tensor:
    """The gradient of sums and means is kept in float16, and scaled afterwards."""

    def derivative(saved: Saved, grad: Tensor) -> Tensor:
        if call.reduction == "none":
            return saved.gradient(grad)
        return grad * saved.gradient(torch.ones_like(grad)).half().float()

    return by_hand(call, derivative)


@mutant(
    source="loss scaling beside class weights",
    caught_by=("gradients.loss_scale_and_weights",),
)
def weight_times_upstream_in_half(call: Call) -> Tensor:
    """Of float16 the upstream gradient meets the weight before the mean is divided: infinite."""
    weight = call.weight
    if weight is None or call.input.dtype != torch.float16 or call.reduction != "mean":
        return cross_entropy(call)
    highest = float(weight.abs().max())

    def overflows(grad: Tensor) -> Tensor:
        return torch.where((grad * highest).isinf(), torch.inf, grad)

    return altered(cross_entropy(call), overflows)
