"""Linear cross entropies by other routes: blocks of classes, columns for the bias, float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..losses.rows import Rows, widened
from ._declare import EAGER, variant

#: Classes of a block.
BLOCK = 7


def _logits(input: Tensor, head: Tensor, bias: Tensor | None) -> Tensor:
    dtype = torch.promote_types(widened(input).dtype, widened(head).dtype)
    with torch.autocast(input.device.type, enabled=False):
        return F.linear(input.to(dtype), head.to(dtype), None if bias is None else bias.to(dtype))


def _blank(input: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Hidden states without those of ignored rows."""
    if target.is_floating_point() or target.shape != input.shape[:-1]:
        return input
    return torch.where((target != ignore_index).unsqueeze(-1), input, 0.0)


def _checked(head: Tensor, bias: Tensor | None) -> None:
    if bias is not None and bias.shape != head.shape[:1]:
        raise ValueError(f"a bias of {tuple(bias.shape)} for {len(head)} classes")


def linear_in_double(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The composition of float64 tensors."""
    _checked(linear_weight, linear_bias)
    bias = None if linear_bias is None else linear_bias.double()
    with torch.autocast(input.device.type, enabled=False):
        loss = F.cross_entropy(
            F.linear(input.double(), linear_weight.double(), bias),
            target.double() if target.is_floating_point() else target,
            None if weight is None else weight.double(),
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    return loss.to(input.dtype)


def linear_bias_as_column(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The bias is one more column of the head, and each hidden state has a 1 for it."""
    _checked(linear_weight, linear_bias)
    hidden, head = _blank(input, target, ignore_index), linear_weight
    if linear_bias is not None:
        one = hidden.new_ones(*hidden.shape[:-1], 1)
        hidden = torch.cat([hidden, one], -1)
        head = torch.cat([head, linear_bias.unsqueeze(1).to(head.dtype)], 1)
    logits = _logits(hidden, head, None)
    rows = Rows.of(logits, target, weight, ignore_index, reduction, label_smoothing).wide()
    return rows.reduced(rows.losses(rows.logits.log_softmax(-1), torch.neg)).to(input.dtype)


def linear_class_blocks(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Logits of seven classes at a time; their exponentials are added up block by block.

    Not their log-sum-exps, whose gradient is NaN where a whole block is excluded.
    """
    _checked(linear_weight, linear_bias)
    # Widened once: else autograd adds up the gradients of the blocks in 16 bits.
    hidden = widened(_blank(input, target, ignore_index))
    pieces = []
    for start in range(0, len(linear_weight), BLOCK):
        part = slice(start, start + BLOCK)
        bias = None if linear_bias is None else linear_bias[part]
        pieces.append(_logits(hidden, linear_weight[part], bias))
    top = torch.stack([piece.detach().amax(-1) for piece in pieces], -1).amax(-1, keepdim=True)
    top = top.where(top.isfinite(), 0.0)
    sums = torch.stack([(piece - top).exp().sum(-1) for piece in pieces], -1)
    log_sum = sums.sum(-1).log() + top.squeeze(-1)
    rows = Rows.of(
        torch.cat(pieces, -1), target, weight, ignore_index, reduction, label_smoothing
    ).wide()
    total = torch.where(rows.kept, log_sum, 0.0).unsqueeze(-1)
    return rows.reduced(rows.losses(rows.logits, lambda values: total - values)).to(input.dtype)


def linear_recomputed(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Nothing is kept for backward but the arguments, which are copied if they may change."""
    _checked(linear_weight, linear_bias)
    labels = target if target.requires_grad else target.clone()
    own = None if weight is None else weight.clone()

    def again(hidden: Tensor, head: Tensor, labels: Tensor, bias: Tensor | None) -> Tensor:
        logits = _logits(_blank(hidden, labels, ignore_index), head, bias)
        rows = Rows.of(logits, labels, own, ignore_index, reduction, label_smoothing).wide()
        return rows.reduced(rows.losses(rows.logits.log_softmax(-1), torch.neg)).to(hidden.dtype)

    loss: Tensor = checkpoint(
        again,
        input,
        linear_weight,
        labels,
        linear_bias,
        use_reentrant=False,
        preserve_rng_state=False,
    )
    return loss


IMPLEMENTATIONS = (
    variant(__name__, "linear_in_double", family="linear_cross_entropy", expected=EAGER[:2]),
    variant(__name__, "linear_bias_as_column", family="linear_cross_entropy"),
    variant(__name__, "linear_class_blocks", family="linear_cross_entropy", max_elements=40_000),
    variant(__name__, "linear_recomputed", family="linear_cross_entropy"),
)
