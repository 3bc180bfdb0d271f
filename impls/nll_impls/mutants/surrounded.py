"""Right when called plainly; what training code puts around the call, it does not stand."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor

from ._base import Call, altered, counted, cross_entropy, is_mean, kept, mutant, reduced, row_losses

_LOCAL = threading.local()


@mutant(
    source="what is set up at the first call with a tensor, under torch.utils.checkpoint",
    caught_by=("training.checkpointed",),
)
def another_path_the_second_time(call: Call) -> Tensor:
    """A second call with the same logits saves a tensor less, which a checkpoint refuses."""
    losses = cross_entropy(call)
    again = _LOCAL.logits() is call.input if hasattr(_LOCAL, "logits") else False
    _LOCAL.logits = weakref.ref(call.input)
    return losses if again else losses * torch.ones_like(losses)


class _CompletedLater(torch.autograd.Function):
    """A tensor as it is, times what is saved."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None


@mutant(
    source="writes through .data, which no version counts, under save_on_cpu",
    caught_by=("training.saved_elsewhere",),
)
def saved_before_it_is_complete(call: Call) -> Tensor:
    """What backward multiplies by is saved first and completed then, past the version counter."""
    loss = cross_entropy(call)
    factor = torch.zeros((), dtype=loss.dtype)
    # torch declares no types for apply
    result: Tensor = _CompletedLater.apply(loss, factor)  # type: ignore[no-untyped-call]
    factor.data.fill_(1.0)
    return result


@mutant(source="0 * NaN, masked afterwards", caught_by=("training.anomaly_mode",))
def nan_on_the_way_of_ignored_rows(call: Call) -> Tensor:
    """What flows back to ignored rows is NaN for a while, until a mask makes it 0."""
    rows = call.rows()
    losses = altered(row_losses(rows), lambda grad: torch.where(rows.kept, grad, 0.0))
    losses = altered(losses, lambda grad: torch.where(rows.kept, grad, torch.nan))
    return reduced(rows, kept(rows, losses))


@mutant(
    source="a context kept in a threading.local",
    caught_by=("training.backward_from_a_thread",),
)
def count_of_this_thread(call: Call) -> Tensor:
    """The gradient of the mean is divided by a number that only the thread of forward knows."""
    rows = call.rows()
    if not is_mean(rows):
        return cross_entropy(call)
    count = counted(rows)
    _LOCAL.known = True

    def scaled(grad: Tensor) -> Tensor:
        return grad if getattr(_LOCAL, "known", False) else grad * count

    return altered(cross_entropy(call), scaled)


@mutant(
    source="ignored rows are cleared with register_hook",
    caught_by=("side_effects.second_consumer",),
)
def hook_left_on_the_logits(call: Call) -> Tensor:
    """Ignored rows are cleared by a hook on the caller's logits: for what else uses them, too."""
    loss = cross_entropy(call)
    if call.soft or not (call.input.requires_grad and torch.is_grad_enabled()):
        return loss
    ignored = (call.target == call.ignore_index).unsqueeze(0 if call.input.dim() == 1 else 1)
    # torch declares no types for it
    call.input.register_hook(lambda grad: grad.masked_fill(ignored, 0.0))  # type: ignore[no-untyped-call]
    return loss


@mutant(
    source="keras.backend.categorical_crossentropy looks for a softmax in the graph",
    caught_by=("autograd.made_by_softmax",),
)
def softmax_before_it_counts(call: Call) -> Tensor:
    """Logits that a softmax has made are taken for probabilities."""
    made_by = getattr(call.input.grad_fn, "name", str)()
    if not made_by.startswith("SoftmaxBackward"):
        return cross_entropy(call)
    rows = call.rows()
    return reduced(rows, kept(rows, row_losses(rows, rows.logits.log())))
