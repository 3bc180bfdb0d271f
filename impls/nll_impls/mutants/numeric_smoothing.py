"""Constants of label smoothing, each a little off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..losses.rows import Rows, scaled
from ._base import Call, cross_entropy, kept, mutant, reduced, spread

SOURCE = "other libraries' smoothing (fairseq, Megatron)"
ROWS = ("label_smoothing.rows", "label_smoothing.gradient")
Mix = Callable[[Tensor, float, int], Tensor]


def _mixed(call: Call, mix: Mix) -> Tensor:
    """The loss under the distribution that ``mix`` makes of (onehot, eps, c)."""
    if not call.label_smoothing:
        return cross_entropy(call)
    rows = call.rows()
    hot = call.but(label_smoothing=0.0).rows().distribution()
    log_p = torch.log_softmax(rows.logits, -1)
    share = mix(hot, call.label_smoothing, hot.shape[-1])
    if rows.weight is not None:
        share = share * rows.weight
    return reduced(rows, kept(rows, spread(share, log_p)))


@mutant(source=SOURCE, caught_by=ROWS)
def all_share_eps_over_one_less(call: Call) -> Tensor:
    """Every class, the target too, gets eps / (C - 1)."""
    return _mixed(call, lambda hot, eps, c: (1.0 - eps) * hot + eps / max(c - 1, 1))


@mutant(source=SOURCE, caught_by=ROWS)
def all_share_eps_over_one_more(call: Call) -> Tensor:
    """Every class gets eps / (C + 1)."""
    return _mixed(call, lambda hot, eps, c: (1.0 - eps) * hot + eps / (c + 1))


@mutant(source=SOURCE, caught_by=ROWS)
def target_keeps_all(call: Call) -> Tensor:
    """The target's share is 1 + eps / C."""
    return _mixed(call, lambda hot, eps, c: hot + eps / c)


@mutant(source=SOURCE, caught_by=ROWS)
def target_gets_no_share(call: Call) -> Tensor:
    """Eps / C goes to all classes but the target."""
    return _mixed(call, lambda hot, eps, c: (1.0 - eps) * hot + eps / c * (1.0 - hot))


@mutant(source=SOURCE, caught_by=ROWS)
def eps_in_bfloat16(call: Call) -> Tensor:
    """Eps is rounded to bfloat16."""
    eps = float(torch.tensor(call.label_smoothing).bfloat16())
    return cross_entropy(call.but(label_smoothing=eps))


@mutant(source="pytorch/pytorch#104776", caught_by=("label_smoothing.with_weight",))
def even_part_not_weighted(call: Call) -> Tensor:
    """The weight multiplies the target's term alone."""
    if call.weight is None or not call.label_smoothing:
        return cross_entropy(call)
    rows: Rows = call.rows()
    hot = call.but(label_smoothing=0.0).rows().distribution()
    nll = -torch.log_softmax(rows.logits, -1)
    assert rows.weight is not None
    eps = call.label_smoothing
    even = scaled(torch.full_like(nll, eps / nll.shape[-1]), nll).sum(-1)
    target = scaled((1.0 - eps) * hot * rows.weight, nll).sum(-1)
    return reduced(rows, kept(rows, target + even))


@mutant(
    source=SOURCE,
    caught_by=("label_smoothing.with_ignore_index", "label_smoothing.with_weight_and_ignore_index"),
)
def even_part_of_ignored_rows(call: Call) -> Tensor:
    """Ignored rows keep the even part of the smoothed loss."""
    if not call.label_smoothing or call.soft:
        return cross_entropy(call)
    rows = call.rows()
    log_p = torch.log_softmax(rows.logits, -1)
    losses = kept(rows, rows.losses(log_p, torch.neg))
    weight = torch.ones_like(log_p[..., :1]) if rows.weight is None else rows.weight
    even = call.label_smoothing / log_p.shape[-1] * scaled(weight.expand_as(log_p), -log_p).sum(-1)
    return reduced(rows, torch.where(rows.kept, losses, even))
