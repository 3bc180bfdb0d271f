"""Other functions than exp and log."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._declare import variant
from ._engine import by_hand, composed

LOG2E = math.log2(math.e)


def _powers_of_two(x: Tensor) -> tuple[Tensor, Tensor]:
    shifted = x - x.amax(1, keepdim=True)
    terms = (shifted * LOG2E).exp2()
    s = terms.sum(1, keepdim=True)
    return shifted - s.log2() * math.log(2.0), terms / s


def _fused_multiply_add(x: Tensor) -> tuple[Tensor, Tensor]:
    """exp2(fma(x, log2 e, -m log2 e)); with 24-bit factors float64 rounds as an fma does."""
    top = x.amax(1, keepdim=True)
    factor = torch.tensor(LOG2E, dtype=x.dtype)
    exponent = (x.double() * factor.double() - (top * factor).double()).to(x.dtype)
    terms = exponent.exp2()
    s = terms.sum(1, keepdim=True)
    log_sum = top + s.log2() * math.log(2.0)
    return x - log_sum, terms / s


def _square_of_root(x: Tensor) -> tuple[Tensor, Tensor]:
    shifted = x - x.amax(1, keepdim=True)
    terms = (shifted / 2).exp().square()
    s = terms.sum(1, keepdim=True)
    return shifted - s.log(), terms / s


def _log1p(x: Tensor) -> tuple[Tensor, Tensor]:
    top, where = x.max(1, keepdim=True)
    terms = (x - top).exp()
    rest = terms.scatter(1, where, 0.0).sum(1, keepdim=True)
    return (x - top) - rest.log1p(), terms / (1.0 + rest)


def _against_the_others(x: Tensor) -> tuple[Tensor, Tensor]:
    """-softplus(log sum over all other classes - x_j), p_j = sigmoid of the reverse."""
    before = torch.logcumsumexp(x - x.amax(1, keepdim=True), 1)
    after = torch.logcumsumexp((x - x.amax(1, keepdim=True)).flip(1), 1).flip(1)
    nothing = torch.full_like(x[:, :1], -torch.inf)
    left = torch.cat([nothing, before[:, :-1]], 1)
    right = torch.cat([after[:, 1:], nothing], 1)
    gap = torch.logaddexp(left, right) - (x - x.amax(1, keepdim=True))
    gone = torch.isneginf(x)
    log_p = -torch.logaddexp(gap, torch.zeros_like(gap))
    return log_p.masked_fill(gone, -torch.inf), torch.sigmoid(-gap).masked_fill(gone, 0.0)


def _special(x: Tensor) -> Tensor:
    result: Tensor = torch.special.log_softmax(x, 1)
    return result


def _shifted_by_an_integer(x: Tensor) -> tuple[Tensor, Tensor]:
    """Any shift near the maximum will do: here the integer below the maximum."""
    top = x.amax(1, keepdim=True)
    shift = torch.floor(top)
    terms = (x - shift).exp()
    s = terms.sum(1, keepdim=True)
    return (x - shift) - s.log(), terms / s


def _log_first(x: Tensor) -> tuple[Tensor, Tensor]:
    log_p = x - torch.special.logsumexp(x, 1, keepdim=True)
    return log_p, log_p.exp()


def _less_one(x: Tensor) -> tuple[Tensor, Tensor]:
    """P = 1 + expm1(log p), which keeps the digits of what p lacks of one."""
    log_p = torch.log_softmax(x, 1)
    near = log_p > -0.5
    return log_p, torch.where(near, 1.0 + log_p.expm1(), log_p.exp())


exp2 = by_hand(_powers_of_two)
exp2_fma = by_hand(_fused_multiply_add)
squared = by_hand(_square_of_root)
log1p = by_hand(_log1p)
softplus_of_others = by_hand(_against_the_others)
special = composed(_special)
rounded_shift = by_hand(_shifted_by_an_integer)
log_first = by_hand(_log_first)
expm1 = by_hand(_less_one)

IMPLEMENTATIONS = (
    variant(__name__, "exp2"),
    variant(__name__, "exp2_fma"),
    variant(__name__, "squared"),
    variant(__name__, "log1p"),
    variant(__name__, "softplus_of_others", max_elements=20_000),
    variant(__name__, "special", promises=("double_backward", "jvp", "vmap")),
    variant(__name__, "rounded_shift"),
    variant(__name__, "log_first"),
    variant(__name__, "expm1"),
)
