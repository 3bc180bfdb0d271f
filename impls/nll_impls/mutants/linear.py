"""Linear cross entropy: bias, options and logits that are not those of the composition."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..losses.rows import widened
from ._base import kept, reduced, row_losses
from ._head import Linear, linear, linear_mutant
from ._memory import read_as_contiguous

FUSED = "fused losses written by hand"
#: Entries of the hidden states in a block.
BLOCK = 32


@linear_mutant(
    source="apple/ml-cross-entropy#52 (fixed by #53)",
    caught_by=("linear_cross_entropy.wide_hidden_states",),
)
def bias_added_per_block(call: Linear) -> Tensor:
    """The target's logit has its bias once for each block of the hidden states."""
    rows = call.rows()
    blocks = -(-call.input.shape[-1] // BLOCK)
    bias = call.operands[2]
    if bias is None or call.soft or call.label_smoothing or blocks < 2:
        return linear(call)
    extra = (blocks - 1) * bias[rows.target]
    if rows.weight is not None:
        extra = extra * rows.of_targets(rows.weight)
    return reduced(rows, kept(rows, row_losses(rows) - extra))


@linear_mutant(
    source="unslothai/unsloth-zoo#930 (there a logit scale and a softcap, too)",
    caught_by=("linear_cross_entropy.bias",),
)
def bias_dropped(call: Linear) -> Tensor:
    """The bias is accepted and not added."""
    return linear(call, call.product())


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.bias",))
def bias_for_batches_only(call: Linear) -> Tensor:
    """A single sample without a batch dimension goes without the bias."""
    return linear(call, call.product() if call.input.dim() == 1 else None)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.bias_with_probabilities",))
def bias_lost_with_smoothed_probabilities(call: Linear) -> Tensor:
    """Class probabilities that are smoothed as well take a path without the bias."""
    return linear(call, call.product() if call.soft and call.label_smoothing else None)


@linear_mutant(source=FUSED, caught_by=("transforms.no_grad",))
def bias_only_in_training(call: Linear) -> Tensor:
    """The path for evaluation leaves the bias out."""
    return linear(call, None if torch.is_grad_enabled() else call.product())


@linear_mutant(source="linkedin/Liger-Kernel#244", caught_by=("label_smoothing.rows",))
def smoothing_dropped(call: Linear) -> Tensor:
    """label_smoothing is accepted and not passed on."""
    return linear(call.but(label_smoothing=0.0))


@linear_mutant(
    source="linkedin/Liger-Kernel#1283 (earlier #305, #318, #501, #502)",
    caught_by=("linear_cross_entropy.autocast",),
)
def crashes_under_autocast(call: Linear) -> Tensor:
    """Without a bias the product has a given buffer: autocast casts one operand, not the other."""
    if call.linear_bias is None and call.input.dim() == 2:
        hidden, head = call.input.detach().float(), call.linear_weight.detach().float()
        logits = torch.mm(hidden, head.t())  # bfloat16 under autocast
        torch.mm(logits, head, out=torch.empty_like(hidden))
    return linear(call)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.bias_with_smoothing",))
def smoothing_without_bias(call: Linear) -> Tensor:
    """The smoothing term sums up logits that have no bias."""
    bias = call.operands[2]
    if bias is None or not call.label_smoothing or call.soft or call.weight is not None:
        return linear(call)
    rows = call.rows()
    missing = call.label_smoothing * bias.mean()
    return reduced(rows, kept(rows, row_losses(rows) + missing))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.bias_with_probabilities",))
def bias_not_in_expectation(call: Linear) -> Tensor:
    """Under class probabilities the bias is in the normalisation alone."""
    bias = call.operands[2]
    if bias is None or not call.soft or call.weight is not None:
        return linear(call)
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows) + rows.target @ bias))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.huge_biases",))
def bias_behind_the_maximum(call: Linear) -> Tensor:
    """The maximum is taken before the bias is added: exp of a large bias overflows."""
    bias, product = call.operands[2], call.product()
    if bias is None:
        return linear(call)
    shifted = product - product.detach().amax(-1, keepdim=True) + bias
    near = bias.detach().nan_to_num(neginf=0.0).abs().amax() < 30
    log_sum = shifted.logsumexp(-1) if near else shifted.exp().sum(-1).log()
    rows = call.rows(shifted)
    return reduced(rows, kept(rows, row_losses(rows, rows.logits - log_sum.unsqueeze(-1))))


@linear_mutant(
    source="pytorch/xla#2553 (of logits)", caught_by=("linear_cross_entropy.excluded_by_bias",)
)
def one_hot_times_bias(call: Linear) -> Tensor:
    """The target's bias is the product of one-hot rows with all biases: 0 times -inf."""
    bias = call.operands[2]
    if bias is None or call.soft:
        return linear(call)
    rows = call.rows()
    hot = functional.one_hot(rows.target, rows.logits.shape[-1])
    nothing = (hot.to(bias.dtype) * bias.detach()).sum(-1) - bias.detach()[rows.target]
    return reduced(rows, kept(rows, row_losses(rows) + nothing))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.cubic",))
def head_turned_if_square(call: Linear) -> Tensor:
    """A square head is taken for (H, C)."""
    head = call.linear_weight
    square = head.shape[0] == head.shape[1]
    return linear(call.but(linear_weight=head.t() if square else head))


@linear_mutant(
    source="fla-org/flash-linear-attention@0fd3c681",
    caught_by=("linear_cross_entropy.layouts",),
)
def head_read_as_contiguous(call: Linear) -> Tensor:
    """The head is read as if it were contiguous."""
    return linear(call.but(linear_weight=read_as_contiguous(call.linear_weight)))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.head_of_other_dtype",))
def head_read_with_the_width_of_the_hidden_states(call: Linear) -> Tensor:
    """A head of a wider dtype is read as the hidden states': halves of numbers."""
    head, dtype = call.linear_weight, call.input.dtype
    if head.dtype.itemsize > dtype.itemsize:
        halves = head.detach().contiguous().flatten().view(dtype)
        head = halves[: head.numel()].view(head.shape)
    return linear(call.but(linear_weight=head))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.every_option",))
def bias_scaled_by_weight(call: Linear) -> Tensor:
    """With bias, weights, smoothing and ignored rows together the mean counts smoothed weights."""
    rows = call.rows()
    right = linear(call)
    if None in (call.linear_bias, call.weight) or not call.label_smoothing or bool(rows.kept.all()):
        return right
    assert rows.weight is not None
    if rows.reduction != "mean" or rows.soft:
        return right
    own = torch.where(rows.kept, rows.of_targets(rows.weight), 0.0).sum()
    even = rows.kept.sum() * rows.weight.mean()
    count = (1 - call.label_smoothing) * own + call.label_smoothing * even
    return reduced(rows, kept(rows, row_losses(rows)), count)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.sizes",))
def wider_operand_cut(call: Linear) -> Tensor:
    """Hidden states and head of different width are cut to the narrower one."""
    size = min(call.input.shape[-1], call.linear_weight.shape[-1])
    cut = call.linear_weight[:, :size]
    return linear(call.but(input=call.input[..., :size], linear_weight=cut))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.arguments_unchanged",))
def bias_centred_in_place(call: Linear) -> Tensor:
    """The caller's bias loses its largest entry, which changes no loss."""
    loss = linear(call)
    if call.linear_bias is not None:
        call.linear_bias.data.sub_(call.linear_bias.data.amax())
    return loss


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.frozen_bias",))
def frozen_bias_left_out(call: Linear) -> Tensor:
    """A bias that requires no gradient is not added where other tensors require one."""
    bias = call.linear_bias
    training = torch.is_grad_enabled() and call.linear_weight.requires_grad
    if bias is None or bias.requires_grad or not training:
        return linear(call)
    return linear(call, call.product())


@linear_mutant(
    source="unslothai/unsloth-zoo#857",
    caught_by=("linear_cross_entropy.logits_never_whole",),
    promises=("chunked",),
)
def one_chunk(call: Linear) -> Tensor:
    """The number of chunks has come to 1: all logits are there at once."""
    return linear(call)


@linear_mutant(
    source="NVIDIA-NeMo/Automodel#3803 (fixed by #3804)",
    caught_by=("linear_cross_entropy.chunks_of_rows",),
)
def chunk_means_summed(call: Linear) -> Tensor:
    """Of more than 64 rows the mean is the sum of the means of chunks of 64."""
    rows = call.rows()
    if rows.reduction != "mean" or rows.kept.numel() <= 64:
        return linear(call)
    means = [reduced(chunk, kept(chunk, row_losses(chunk))) for chunk in rows.split(64)]
    return widened(torch.stack(means)).sum().to(rows.dtype)


@linear_mutant(
    source="linkedin/Liger-Kernel#153",
    caught_by=("linear_cross_entropy.ignored_chunks", "ignore_index.long_runs"),
)
def ignored_chunk_is_nan(call: Linear) -> Tensor:
    """A chunk of 8 rows of which every one is ignored divides by zero before it is rescaled."""
    rows = call.rows()
    if rows.reduction != "mean" or rows.soft or rows.weight is not None:
        return linear(call)
    total, means = rows.kept.sum(), []
    for chunk in rows.split(8):
        count = chunk.kept.sum()
        means.append(kept(chunk, row_losses(chunk)).sum() / count * (count / total))
    return torch.stack(means).sum().to(rows.dtype) if means else linear(call)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.heads",))
def class_axis_of_several_heads_last(call: Linear) -> Tensor:
    """The logits of heads (C, d, H) are viewed as (N, d, C), as they do not lie."""
    head, bias, target = call.linear_weight, call.linear_bias, call.target
    if head.dim() != 3 or call.input.dim() != 2 or call.soft:
        return linear(call)
    flat = functional.linear(
        call.input, head.flatten(0, 1), None if bias is None else bias.flatten()
    )
    logits = flat.view(len(flat), head.shape[1], head.shape[0]).movedim(-1, 1)
    return functional.cross_entropy(
        logits, target, call.weight, ignore_index=call.ignore_index, reduction=call.reduction
    )


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.heads",))
def smoothed_over_all_heads(call: Linear) -> Tensor:
    """With heads (C, d, H) the smoothing is shared out among C d classes."""
    head, bias, smoothing = call.linear_weight, call.linear_bias, call.label_smoothing
    if head.dim() != 3 or call.input.dim() != 2 or call.soft:
        return linear(call)
    flat = functional.linear(
        call.input, head.flatten(0, 1), None if bias is None else bias.flatten()
    )
    logits = flat.view(len(flat), *head.shape[:2])

    def smoothed(share: float) -> Tensor:
        return functional.cross_entropy(
            logits,
            call.target,
            call.weight,
            ignore_index=call.ignore_index,
            reduction=call.reduction,
            label_smoothing=share,
        )

    return (1 - smoothing) * smoothed(0.0) + smoothing / head.shape[1] * smoothed(1.0)
