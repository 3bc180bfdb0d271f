"""Epsilons, clamps and penalties between the logits and the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._base import Call, kept, mutant, reduced, replaced, row_losses

SOURCE = "log(softmax + eps) and its kin"
FAR = ("stability.wrong_target_is_linear",)


def _of(call: Call, log_p: Callable[[Tensor], Tensor]) -> Tensor:
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows, log_p(rows.logits))))


def _valued(call: Call, log_p: Callable[[Tensor], Tensor]) -> Tensor:
    """As ``_of``, the gradient right."""
    return _of(call, lambda x: replaced(torch.log_softmax(x, -1), log_p(x.detach())))


@mutant(source=SOURCE, caught_by=FAR)
def log_of_p_plus_1e8th(call: Call) -> Tensor:
    """log(p + 1e-8)."""
    return _valued(call, lambda x: (x.softmax(-1) + 1e-8).log())


@mutant(source=SOURCE, caught_by=FAR)
def log_of_p_plus_1e12th(call: Call) -> Tensor:
    """log(p + 1e-12)."""
    return _valued(call, lambda x: (x.softmax(-1) + 1e-12).log())


@mutant(source="Keras: clipped probabilities", caught_by=FAR)
def p_clamped(call: Call) -> Tensor:
    """P is kept within 1e-7 of 0 and 1."""
    return _valued(call, lambda x: x.softmax(-1).clamp(1e-7, 1.0 - 1e-7).log())


@mutant(source="Keras: clipped probabilities", caught_by=FAR)
def p_clamped_below(call: Call) -> Tensor:
    """P is at least 1e-7, loss and gradient alike."""
    return _of(call, lambda x: x.softmax(-1).clamp(min=1e-7).log())


@mutant(source="F.binary_cross_entropy clamps at 100", caught_by=FAR)
def loss_clamped_at_100(call: Call) -> Tensor:
    """No log-probability lies below -100."""
    return _valued(call, lambda x: x.log_softmax(-1).clamp(min=-100.0))


@mutant(source=SOURCE, caught_by=FAR)
def log_of_softmax(call: Call) -> Tensor:
    """log(softmax): infinite where p underflows."""
    return _valued(call, lambda x: x.softmax(-1).log())


@mutant(source=SOURCE, caught_by=(*FAR, "stability.huge"))
def logits_clamped_at_80(call: Call) -> Tensor:
    """Logits are clamped to [-80, 80] against overflow."""
    return _of(call, lambda x: x.clamp(-80.0, 80.0).log_softmax(-1))


@mutant(source="auxiliary z-loss left on", caught_by=("values.row_loss", "stability.common_offset"))
def z_loss_added(call: Call) -> Tensor:
    """1e-4 times the square of the log-sum-exp is added."""
    return _of(call, lambda x: x.log_softmax(-1) - 1e-4 * x.logsumexp(-1, keepdim=True).square())


@mutant(
    source="softcap left on", caught_by=("values.confident", "values.row_loss", "stability.huge")
)
def soft_cap_at_30(call: Call) -> Tensor:
    """Logits pass through 30 tanh(x / 30)."""
    return _of(call, lambda x: (30.0 * torch.tanh(x / 30.0)).log_softmax(-1))
