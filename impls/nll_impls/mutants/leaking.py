"""A call leaves something behind in the caller's tensors, in the process, or in memory."""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..losses.rows import widened
from ._base import Call, Saved, by_hand, cross_entropy, mutant

_SEEN: list[Tensor] = []
_ROWS: list[Tensor] = []


@mutant(
    source="torch.nn.functional.normalize(out=...) and in-place shifts by the maximum",
    caught_by=("side_effects.inputs",),
)
def logits_shifted_in_place(call: Call) -> Tensor:
    """The maximum of each row is subtracted from the caller's logits."""
    loss = cross_entropy(call)
    with torch.no_grad():
        data = call.input.data
        data -= data.max()
    return loss


def _scales_upstream(saved: Saved, grad: Tensor) -> Tensor:
    gradient = saved.gradient(grad)
    if grad.is_contiguous():
        grad.mul_(0.5)
    return gradient


@mutant(
    source="apex xentropy, there of ignored rows (rule side_effects.upstream_of_ignored)",
    caught_by=("side_effects.upstream", "side_effects.upstream_of_ignored"),
)
def upstream_scaled_in_place(call: Call) -> Tensor:
    """Backward halves the upstream gradient where it lies."""
    return by_hand(call, _scales_upstream)


@mutant(
    source="research code that sets the default dtype for an exact sum",
    caught_by=("side_effects.process_state",),
)
def default_dtype_left(call: Call) -> Tensor:
    """float64 is left as the default dtype."""
    loss = cross_entropy(call)
    torch.set_default_dtype(torch.float64)
    return loss


@mutant(
    source="libraries that tell themselves something through the environment",
    caught_by=("side_effects.process_state",),
)
def environment_left(call: Call) -> Tensor:
    """A variable of the environment counts the calls."""
    number = int(os.environ.get("FUSED_LOSS_CALLS", "0"))
    os.environ["FUSED_LOSS_CALLS"] = str(number + 1)
    return cross_entropy(call)


@mutant(
    source="warnings.simplefilter outside of catch_warnings",
    caught_by=("side_effects.process_state",),
)
def warnings_silenced(call: Call) -> Tensor:
    """All warnings are ignored from the first call on."""
    warnings.simplefilter("ignore")
    return cross_entropy(call)


@mutant(
    source="torch.set_num_threads in a data loader's worker function",
    caught_by=("side_effects.process_state",),
)
def thread_count_left(call: Call) -> Tensor:
    """Three threads are left for everybody to compute with."""
    torch.set_num_threads(3)
    return cross_entropy(call)


@mutant(
    source="stochastic rounding with the global generator",
    caught_by=("side_effects.process_state",),
)
def random_numbers_used(call: Call) -> Tensor:
    """A number is drawn from the global generator at each call."""
    torch.rand(())
    return cross_entropy(call)


@mutant(
    source="a module that keeps its last input for logging",
    caught_by=("side_effects.references",),
)
def last_input_kept(call: Call) -> Tensor:
    """The logits of the last call are kept for later statistics."""
    _SEEN[:] = [call.input]
    return cross_entropy(call)


@mutant(
    source="appending losses with their graph to a list",
    caught_by=("side_effects.growth",),
)
def losses_remembered(call: Call) -> Tensor:
    """A copy of every loss is remembered for ever."""
    loss = cross_entropy(call)
    _ROWS.append(loss.detach().clone())
    return loss


@mutant(
    source="a logger that starts a thread for each message",
    caught_by=("side_effects.leftovers",),
)
def threads_left(call: Call) -> Tensor:
    """Each call starts a thread that lives for another minute."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return cross_entropy(call)


@mutant(
    source="multiprocessing pools that nobody closes",
    caught_by=("side_effects.leftovers",),
)
def files_left_open(call: Call) -> Tensor:
    """Each call opens a file and does not close it."""
    os.open(os.devnull, os.O_RDONLY)
    return cross_entropy(call)


class _Overwriting(torch.autograd.Function):
    """The right loss, whose gradient is written over the logits in forward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: Call) -> Tensor:
        leaf = logits.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = cross_entropy(call.but(input=leaf))
        ctx.loss, ctx.leaf, ctx.logits = loss, leaf, logits
        if loss.dim() == 0 and loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
            logits.data.copy_(gradient)  # .data hides it from the version counter
        return loss.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = torch.autograd.grad(ctx.loss, ctx.leaf, grad, retain_graph=True)
        return widened(gradient).to(gradient.dtype), None


@mutant(
    source="linkedin/Liger-Kernel: the gradient is written over the logits",
    caught_by=("side_effects.second_consumer",),
    mutates=("input",),
)
def logits_overwritten_in_secret(call: Call) -> Tensor:
    """The gradient is written over the logits past the version counter, as declared."""
    loss: Tensor = _Overwriting.apply(call.input, call)  # type: ignore[no-untyped-call]
    return loss


@mutant(
    source="grad mode belongs to a thread: workers of a pool",
    caught_by=("transforms.no_grad",),
)
def chunks_forget_no_grad(call: Call) -> Tensor:
    """More than 64 rows are left to workers, which do not know that gradients are off."""
    forgets = len(call.rows().kept.flatten()) > 64 and not torch.is_inference_mode_enabled()
    with torch.set_grad_enabled(torch.is_grad_enabled() or forgets):
        return cross_entropy(call)


@mutant(
    source="block sizes tuned on random data, when a width is first met",
    caught_by=("side_effects.process_state",),
)
def seeded_for_wide_rows(call: Call) -> Tensor:
    """Rows of more than 64 classes reset the global generator."""
    if call.logits().shape[-1] > 64:
        torch.manual_seed(0)
    return cross_entropy(call)


@mutant(
    source="the backward of nll_loss2d on CUDA, which has no deterministic algorithm",
    caught_by=("side_effects.process_state",),
)
def deterministic_mode_left_for_images(call: Call) -> Tensor:
    """Images and volumes turn deterministic algorithms on, and leave them on."""
    loss = cross_entropy(call)
    if call.input.dim() > 3:
        torch.use_deterministic_algorithms(True)
    return loss


@mutant(
    source="targets checked between two torch.set_grad_enabled",
    caught_by=("errors.leaves_no_trace",),
)
def gradients_off_after_an_error(call: Call) -> Tensor:
    """A target that is no class leaves grad mode off."""
    mode = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    cross_entropy(call)
    torch.set_grad_enabled(mode)
    return cross_entropy(call)
