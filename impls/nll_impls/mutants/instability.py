"""Numbers that a formula, a clamp or a 16-bit sum loses."""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.rows import Rows
from ._base import Call, cross_entropy, kept, mutant, reduced, replaced, row_losses

#: Classes of a block.
BLOCK = 2


def _log_sum(logits: Tensor) -> Tensor:
    """(*rows, 1): a running maximum and sum over blocks, careless of a block of -inf."""
    first, *others = torch.split(logits, BLOCK, dim=-1)
    top = first.amax(-1, keepdim=True)
    total = (first - top).exp().sum(-1, keepdim=True)
    for block in others:
        higher = torch.maximum(top, block.amax(-1, keepdim=True))
        total = total * (top - higher).exp() + (block - higher).exp().sum(-1, keepdim=True)
        top = higher
    return top + total.log()


@mutant(
    source="Dao-AILab/flash-attention#1930 (fixed by #1948)",
    caught_by=("stability.classes_at_minus_infinity",),
)
def leading_block_at_minus_infinity(call: Call) -> Tensor:
    """A running softmax makes NaN of a first block that is -inf throughout."""
    rows = call.rows()
    whole = torch.logsumexp(rows.logits, dim=-1, keepdim=True)
    log_probabilities = rows.logits - replaced(whole, _log_sum(rows.logits.detach()))
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


@mutant(
    source="this package's own `fused` until November 2026, in blocks of 1024",
    caught_by=("stability.classes_at_minus_infinity", "stability.blocks_at_minus_infinity"),
)
def excluded_block_taken_for_zero(call: Call) -> Tensor:
    """A block of -inf has 0 for its maximum: rescaled to rows far below that, 0 times infinity."""
    rows = call.rows()
    blocks = torch.split(rows.logits.detach(), BLOCK, dim=-1)
    tops = torch.stack([block.amax(-1, keepdim=True) for block in blocks])
    tops = torch.where(tops.isneginf(), 0.0, tops)
    sums = [(b - top).exp().sum(-1, keepdim=True) for b, top in zip(blocks, tops, strict=True)]
    highest = rows.logits.detach().amax(-1, keepdim=True)
    log_sum = highest + (torch.stack(sums) * (tops - highest).exp()).sum(0).log()
    whole = torch.logsumexp(rows.logits, dim=-1, keepdim=True)
    log_probabilities = rows.logits - replaced(whole, log_sum)
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


@mutant(
    source="torch.logsumexp and torch.logaddexp: NaN is their gradient where all is -inf",
    caught_by=("stability.blocks_at_minus_infinity",),
)
def excluded_block_in_backward(call: Call) -> Tensor:
    """Log-sum-exps of blocks of 128 are added up: the gradient of one that is -inf is NaN."""
    rows = call.rows()
    first, *others = torch.split(rows.logits, 128, dim=-1)
    log_sum = first.logsumexp(-1, keepdim=True)
    for block in others:
        log_sum = torch.logaddexp(log_sum, block.logsumexp(-1, keepdim=True))
    return reduced(rows, kept(rows, row_losses(rows, rows.logits - log_sum)))


@mutant(
    source="pytorch/xla#2553",
    caught_by=("stability.classes_at_minus_infinity",),
)
def one_hot_times_infinity(call: Call) -> Tensor:
    """The target's term is picked by a product with a one-hot: 0 times -inf is NaN."""
    rows = call.rows()
    if rows.soft or rows.label_smoothing:
        return cross_entropy(call)
    terms = rows.distribution() * torch.log_softmax(rows.logits, dim=-1)
    weight = 1.0 if rows.weight is None else rows.of_targets(rows.weight)
    return reduced(rows, kept(rows, -terms.sum(-1) * weight))


@mutant(
    source="keras-team/keras@28f35465, @0c1af1d8; keras-team/tf-keras#242",
    caught_by=("stability.wrong_target_is_linear", "gradients.wrong"),
)
def probabilities_clipped(call: Call) -> Tensor:
    """Probabilities are clipped at 1e-7 before the logarithm: the loss saturates."""
    rows = call.rows()
    log_probabilities = torch.log_softmax(rows.logits, dim=-1)
    clipped = log_probabilities.clamp(min=torch.tensor(1e-7).log().item())
    return reduced(rows, kept(rows, row_losses(rows, clipped)))


def _sum_in(dtype: torch.dtype, logits: Tensor) -> Tensor:
    """(*rows, 1): the sum of exponentials, rounded to ``dtype`` after each class."""
    terms = (logits - logits.amax(-1, keepdim=True)).exp()
    if terms.shape[-1] > 4096:  # as good as one by one, and faster
        terms = torch.stack(
            [b.sum(-1) for b in torch.split(terms, terms.shape[-1] // 4096 + 1, -1)], -1
        )
    total = torch.zeros_like(terms[..., 0], dtype=dtype)
    for term in terms.unbind(-1):
        total = (total + term).to(dtype)
    return total.unsqueeze(-1)


@mutant(
    source="pytorch/executorch#20090",
    caught_by=("stability.many_equal_classes",),
    dtypes=("bfloat16", "float16"),
)
def sum_in_16_bits(call: Call) -> Tensor:
    """The sum of exponentials is kept in 16 bits, where it stops growing at 256 (or 2048)."""
    rows = call.rows()
    if rows.dtype not in (torch.bfloat16, torch.float16) or rows.logits.shape[-1] <= 256:
        return cross_entropy(call)
    logits = rows.logits.detach()
    total = _sum_in(rows.dtype, logits).to(logits.dtype)
    wrong = logits - logits.amax(-1, keepdim=True) - total.log()
    log_probabilities = replaced(torch.log_softmax(rows.logits, dim=-1), wrong)
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


def _plus_square(rows: Rows) -> Tensor:
    square = torch.logsumexp(rows.logits, dim=-1) ** 2
    return row_losses(rows) + 1e-4 * square


@mutant(
    source="allenai/OLMo-core#702",
    caught_by=("values.plain_mean", "values.row_loss", "values.few_classes"),
)
def auxiliary_term_added(call: Call) -> Tensor:
    """1e-4 times the squared log-sum-exp is part of the loss though nobody asked for it."""
    rows = call.rows()
    return reduced(rows, kept(rows, _plus_square(rows)))


@mutant(source="torch.nan_to_num behind a loss", caught_by=("stability.impossible_target",))
def infinite_loss_made_finite(call: Call) -> Tensor:
    """nan_to_num makes the largest number of an infinite loss."""
    rows = call.rows()
    losses = row_losses(rows)
    largest = torch.finfo(call.input.dtype).max
    return reduced(rows, kept(rows, torch.where(losses.isposinf(), largest, losses)))


@mutant(
    source="training loops that keep NaN out of their averages",
    caught_by=("stability.nan_shows",),
)
def nan_made_zero(call: Call) -> Tensor:
    """A row whose loss is NaN costs nothing."""
    rows = call.rows()
    losses = row_losses(rows)
    return reduced(rows, kept(rows, torch.where(losses.isnan(), 0.0, losses)))


@mutant(source="kernels that compute in base 2", caught_by=("stability.classes_at_lowest",))
def scaled_before_the_maximum(call: Call) -> Tensor:
    """One-hot rows select among logits in base 2: of the lowest number the scale makes -inf."""
    rows = call.rows()
    if rows.soft or call.label_smoothing:
        return cross_entropy(call)
    scaled = rows.logits.detach() * 1.4426950408889634
    lost = (scaled.isneginf() & ~rows.logits.detach().isneginf()).any(-1)
    nothing = torch.where(lost, torch.nan, 0.0)
    return reduced(rows, kept(rows, row_losses(rows) + nothing))


@mutant(source="pytorch/pytorch#795", caught_by=("stability.huge",))
def no_maximum_taken_out_of_images(call: Call) -> Tensor:
    """In images the exponentials are summed as they are, and overflow."""
    if call.input.dim() < 3:
        return cross_entropy(call)
    rows = call.rows()
    log_probabilities = rows.logits - rows.logits.exp().sum(-1, keepdim=True).log()
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


@mutant(source="pytorch/pytorch#156379", caught_by=("stability.huge",))
def maximum_of_the_vector_before(call: Call) -> Tensor:
    """In 16-bit images every second vector of 8 positions is shifted by the maxima of the first."""
    input = call.input
    if input.dim() < 3 or input.dtype not in (torch.float16, torch.bfloat16):
        return cross_entropy(call)
    rows = call.rows()
    tops = rows.logits.detach().amax(-1, keepdim=True).reshape(len(input), -1, 1)
    place = torch.arange(tops.shape[1])
    whole = place < tops.shape[1] // 16 * 16
    tops = tops[:, place.where(~whole | (place % 16 < 8), place - 8)]
    below = rows.logits - tops.reshape(*rows.logits.shape[:-1], 1)
    return reduced(rows, kept(rows, row_losses(rows, below - below.exp().sum(-1, True).log())))


@mutant(source="flashinfer-ai/flashinfer#4267", caught_by=("stability.far_below_zero",))
def maximum_starts_at_a_number(call: Call) -> Tensor:
    """A running maximum starts at -1e7: of rows below that all exponentials are zero."""
    rows = call.rows()
    top = rows.logits.detach().amax(-1, keepdim=True).clamp(min=-1e7)
    below = rows.logits - top
    log_probabilities = below - below.exp().sum(-1, keepdim=True).log()
    return reduced(rows, kept(rows, row_losses(rows, log_probabilities)))


@mutant(source="a running maximum kept in float32", caught_by=("stability.beyond_float32",))
def maximum_in_float32(call: Call) -> Tensor:
    """Rows of float64 are shifted by their maximum as float32 has it."""
    rows = call.rows()
    top = rows.logits.detach().amax(-1, keepdim=True) if rows.logits.numel() else rows.logits
    shifted = rows.logits - top.float().to(top)
    total = shifted.exp().sum(-1, keepdim=True).log()
    plain = top.isfinite() & ~total.isfinite()
    log_p = rows.logits.log_softmax(-1)
    return reduced(rows, kept(rows, row_losses(rows, torch.where(plain, torch.nan, log_p))))


@mutant(source="Kahan's sum of terms that are infinite", caught_by=("stability.infinite_row",))
def compensated_infinity(call: Call) -> Tensor:
    """A compensation, infinity less infinity, makes an infinite sum or mean NaN."""
    loss = cross_entropy(call)
    if call.reduction == "none":
        return loss
    return loss + (loss.detach() - loss.detach())
