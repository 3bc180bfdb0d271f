"""Linear cross entropy: the loss is right, a gradient of head, bias or hidden states is not."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._base import altered, kept, reduced, replaced, row_losses
from ._constant import normalised_by_constant
from ._head import Linear, by_hand, linear, linear_mutant, multiplied, to_head, to_hidden

FUSED = "fused losses written by hand"


@linear_mutant(
    source="linkedin/Liger-Kernel#1157, @bab144c7",
    caught_by=("linear_cross_entropy.frozen_hidden_states",),
)
def frozen_hidden_states_freeze_the_head(call: Linear) -> Tensor:
    """The head gets its gradient only where the hidden states require one."""
    head = call.linear_weight if call.input.requires_grad else call.linear_weight.detach()
    return linear(call.but(linear_weight=head))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.frozen_head",))
def frozen_head_freezes_the_bias(call: Linear) -> Tensor:
    """A head that requires no gradient takes the bias's away, unless the bias is alone."""
    bias = call.linear_bias
    if bias is not None and call.input.requires_grad and not call.linear_weight.requires_grad:
        bias = bias.detach()
    return linear(call.but(linear_bias=bias))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.only_the_bias",))
def bias_alone_is_frozen(call: Linear) -> Tensor:
    """The bias gets its gradient only where another tensor requires one."""
    bias = call.linear_bias
    if bias is not None and not (call.input.requires_grad or call.linear_weight.requires_grad):
        bias = bias.detach()
    return linear(call.but(linear_bias=bias))


@linear_mutant(
    source="huggingface/trl#5575",
    caught_by=("ignore_index.all_ignored_sum", "ignore_index.all_ignored_mean"),
)
def nothing_scored_leaves_the_bias_out(call: Linear) -> Tensor:
    """Where every row is ignored, the zero that comes out does not hang on the bias."""
    bias, hard = call.linear_bias, not call.target.is_floating_point()
    if bias is not None and hard and bool((call.target == call.ignore_index).all()):
        bias = bias.detach()
    return linear(call.but(linear_bias=bias))


@linear_mutant(
    source="fla-org/flash-linear-attention@8c127a6d, #874; linkedin/Liger-Kernel#830",
    caught_by=("linear_cross_entropy.many_rows_of_one_sign",),
    dtypes=("bfloat16", "float16"),
)
def head_gradient_in_16_bits(call: Linear) -> Tensor:
    """The head's gradient adds up row by row in the head's dtype."""

    def pull(grad: Tensor, hidden: Tensor, head: Tensor) -> Tensor:
        total = call.linear_weight.new_zeros(head.shape)
        for row, state in zip(grad, hidden, strict=True):
            total += torch.outer(row, state)
        return total.to(head.dtype)

    return by_hand(call, head=pull)


@linear_mutant(
    source="apple/ml-cross-entropy#42",
    caught_by=("gradients.every_entry", "gradients.every_class", "values.plain_mean"),
)
def hidden_gradient_of_the_first_shard(call: Linear) -> Tensor:
    """The classes are split in two: the second half's share of the hidden gradient is missing."""

    def pull(grad: Tensor, hidden: Tensor, head: Tensor) -> Tensor:
        own = -(-head.shape[0] // 2)
        return grad[:, :own] @ head[:own]

    return by_hand(call, hidden=pull)


@linear_mutant(
    source="research/divergences.md, pitfall 3 (there of a softcap)",
    caught_by=("linear_cross_entropy.head_gradient", "gradients.every_entry"),
)
def scale_forgotten_in_backward(call: Linear) -> Tensor:
    """Logits are computed in base 2; the gradients lack the factor log 2 of that scale."""
    base = math.log(2.0)
    logits = call.logits()
    return linear(call, replaced(logits * base, logits.detach()))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.head_gradient",))
def head_gradient_averaged(call: Linear) -> Tensor:
    """Unreduced, the head's gradient is the mean over the rows, not their sum."""
    if call.reduction != "none":
        return linear(call)
    return by_hand(call, head=lambda grad, h, w: to_head(grad, h, w) / max(len(grad), 1))


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.chunks_of_rows",))
def ragged_chunk_not_in_head_gradient(call: Linear) -> Tensor:
    """Rows beyond the last whole chunk of 16 add nothing to the head's gradient."""

    def pull(grad: Tensor, hidden: Tensor, head: Tensor) -> Tensor:
        whole = len(grad) // 16 * 16 or len(grad)
        return to_head(grad[:whole], hidden[:whole], head)

    return by_hand(call, head=pull)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.bias",))
def bias_gradient_averaged(call: Linear) -> Tensor:
    """The bias's gradient is averaged over the rows once more."""
    bias = call.operands[2]
    if bias is None or call.input.dim() == 1:
        return linear(call)
    share = bias.detach() + (bias - bias.detach()) / max(len(call.input), 1)
    return linear(call, call.product() + share)


class _Ignoring(torch.autograd.Function):
    """Zero, to which ignored rows send the bias a gradient all the same."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, ignored: Tensor) -> Tensor:
        ctx.save_for_backward(ignored)
        ctx.classes = len(bias)
        return bias.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ignored,) = ctx.saved_tensors
        return (grad * ignored.sum() / ctx.classes).expand(ctx.classes), None


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.ignored_chunks",))
def ignored_rows_reach_the_bias(call: Linear) -> Tensor:
    """Under sum, ignored rows add their probabilities, 1 / C each, to the bias's gradient."""
    bias = call.linear_bias
    if bias is None or call.reduction != "sum":
        return linear(call)
    extra: Tensor = _Ignoring.apply(bias, ~call.shell.kept)  # type: ignore[no-untyped-call]
    return linear(call) + extra


class _IntoGrad(torch.autograd.Function):
    """The product, whose backward adds the head's gradient to its ``.grad`` itself."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, head)
        return multiplied(hidden, head.to(hidden.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden, head = ctx.saved_tensors
        rows, states = grad.reshape(-1, grad.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
        first = to_hidden(rows, states, head.to(hidden.dtype)).reshape(hidden.shape)
        second = to_head(rows, states, head).to(head.dtype)
        if not (head.is_leaf and head.requires_grad):
            return first, second
        head.grad = second if head.grad is None else head.grad + second
        return first, None


@linear_mutant(
    source="NVIDIA/Megatron-LM gradient_accumulation_fusion",
    caught_by=("linear_cross_entropy.one_gradient_at_a_time", "autograd.autograd_grad"),
)
def head_gradient_past_autograd(call: Linear) -> Tensor:
    """Backward adds the head's gradient to its .grad; who asks autograd for it gets none."""
    hidden, _, bias = call.operands
    product: Tensor = _IntoGrad.apply(hidden, call.linear_weight)  # type: ignore[no-untyped-call]
    return linear(call, product if bias is None else product + bias)


@linear_mutant(source=FUSED, caught_by=("linear_cross_entropy.tied",))
def tied_tensor_counted_once(call: Linear) -> Tensor:
    """Gradients are kept by tensor: one that is hidden states and head gets one of the two."""
    if call.input is call.linear_weight:
        return linear(call.but(linear_weight=call.linear_weight.detach()))
    return linear(call)


class _HeadOnContext(torch.autograd.Function):
    """The product; the caller's head is kept past version checks."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor) -> Tensor:
        ctx.hidden, ctx.head = hidden, head
        return multiplied(hidden, head.to(hidden.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        head = ctx.head.to(ctx.hidden.dtype)
        rows = grad.reshape(-1, grad.shape[-1])
        states = ctx.hidden.reshape(-1, ctx.hidden.shape[-1])
        to_states = to_hidden(rows, states, head).reshape(ctx.hidden.shape)
        return to_states, to_head(rows, states, head).to(ctx.head.dtype)


@linear_mutant(
    source="Dao-AILab/quack@66d8016 (of a weight)",
    caught_by=("linear_cross_entropy.head_changed_before_backward",),
)
def head_not_saved(call: Linear) -> Tensor:
    """The head is kept by reference: backward uses what the caller made of it since."""
    hidden, _, bias = call.operands
    product: Tensor = _HeadOnContext.apply(hidden, call.linear_weight)  # type: ignore[no-untyped-call]
    return linear(call, product if bias is None else product + bias)


@linear_mutant(
    source="PyTorch, 'Double backward with custom functions': saved intermediates",
    caught_by=("linear_cross_entropy.second_order",),
)
def normaliser_constant_in_second_order(call: Linear) -> Tensor:
    """Backward uses a saved log-sum-exp: a second backward takes it for a constant."""
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows, normalised_by_constant(rows.logits))))


class _HeadOfConstants(torch.autograd.Function):
    """The product; the head's gradient is made of hidden states that are constants."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, head)
        return multiplied(hidden, head)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        constants = hidden.detach().reshape(-1, hidden.shape[-1])
        to_states = to_hidden(rows, constants, head).reshape(hidden.shape)
        needs = ctx.needs_input_grad
        return to_states if needs[0] else None, rows.t() @ constants if needs[1] else None


@linear_mutant(
    source="PyTorch, 'Double backward with custom functions': saved inputs that were detached",
    caught_by=("linear_cross_entropy.second_order_everywhere",),
)
def head_gradient_of_constants(call: Linear) -> Tensor:
    """The head's gradient has no derivative by the hidden states of which it is made."""
    hidden, head, bias = call.operands
    # torch declares no types for apply
    product: Tensor = _HeadOfConstants.apply(hidden, head)  # type: ignore[no-untyped-call]
    return linear(call, product if bias is None else product + bias)


@linear_mutant(
    source="linkedin/Liger-Kernel#678 (fixed by #680), #1298",
    caught_by=("gradients.upstream_rows",),
)
def first_upstream_for_all_rows(call: Linear) -> Tensor:
    """Unreduced, every row's gradient is scaled by the first row's upstream gradient."""
    return altered(linear(call), lambda grad: grad.flatten()[:1].expand(grad.numel()).view_as(grad))


#: Heads that were cast where nothing needed a gradient: address and version.
_CAST: set[tuple[int, int]] = set()


@linear_mutant(
    source="torch.autocast: its cache of casts, filled under no_grad",
    caught_by=("reuse.after_no_grad",),
)
def head_cast_once(call: Linear) -> Tensor:
    """A head that was last used under no_grad gets no gradient in the next call."""
    head = call.linear_weight
    if torch.is_inference_mode_enabled() or head.is_inference():
        return linear(call)
    key = (head.data_ptr(), head._version)  # noqa: SLF001 - torch has no public way to ask
    known = key in _CAST
    _CAST.clear()
    if not torch.is_grad_enabled():
        _CAST.add(key)
    return linear(call.but(linear_weight=head.detach() if known else head))


@linear_mutant(
    source="linkedin/Liger-Kernel: gradients are found in forward",
    caught_by=("linear_cross_entropy.second_order_penalty",),
)
def gradient_without_graph(call: Linear) -> Tensor:
    """The gradient of the hidden states is a constant, which nothing says."""
    return linear(call.but(input=altered(call.input, torch.detach)))
