"""What training code puts around a loss: checkpoints, offloading, anomaly mode, other threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from ..cases import any_reduction, mixed_upstream, scalar_upstream, vary
from ..contract import rule
from ..judge import agrees, gradients_agree
from ..model import Case, Judgement
from ..observe import Caller
from ..together import any_option

GRADIENT = ("gradient",)


def _back_again(case: Case, call: Caller, tensors: dict[str, Tensor], value: Tensor) -> Judgement:
    """Backward of a forward that was done, and the judgement of both."""
    grads = call.flow_back(case, tensors, value)
    yield from agrees(call.observation(case, value, grads, tensors))


@rule(
    "should",
    cases=vary(any_option, any_reduction, scalar_upstream),
    source="torch.utils.checkpoint: forward runs again in backward",
    needs=GRADIENT,
    share=0.6,
    shows="""
        from torch.utils.checkpoint import checkpoint
        loss = checkpoint(lambda: {call}, use_reentrant=False)
        loss.backward(upstream)
    """,
)
def checkpointed(case: Case, call: Caller) -> Judgement:
    """Under a checkpoint, which calls it again in backward, loss and gradient are the same.

    TorchScript, which saves other tensors once it has seen a few calls, does not stand it.
    """
    tensors = call.tensors(case)
    if call.subject.implementation.mutates:
        return  # what it overwrites is another the second time

    def loss() -> Tensor:
        value = call.invoke(case, tensors)
        assert isinstance(value, Tensor)
        return value

    value = call.guard("the checkpointed call", lambda: checkpoint(loss, use_reentrant=False))
    yield from _back_again(case, call, tensors, value)


@rule(
    "must",
    cases=vary(any_option, any_reduction, mixed_upstream),
    source="torch.autograd.graph.save_on_cpu, activation offloading",
    needs=GRADIENT,
    share=0.6,
    shows="""
        from torch.autograd.graph import saved_tensors_hooks
        with saved_tensors_hooks(torch.clone, torch.clone):
            loss = {call}
        loss.backward(upstream)
    """,
)
def saved_elsewhere(case: Case, call: Caller) -> Judgement:
    """Tensors saved for backward may be copied away and back, as offloading does."""
    tensors = call.tensors(case)
    with saved_tensors_hooks(torch.clone, torch.clone):
        value = call.forward(case, tensors)
    yield from _back_again(case, call, tensors, value)


@rule(
    "should",
    cases=vary(any_option, any_reduction, mixed_upstream),
    source="torch.autograd.detect_anomaly raises at the first NaN of a backward",
    needs=GRADIENT,
    share=0.3,
    shows="""
        with torch.autograd.detect_anomaly():
            loss = {call}
            loss.backward(upstream)
    """,
)
def anomaly_mode(case: Case, call: Caller) -> Judgement:
    """Anomaly mode finds no NaN on the way to a gradient that has none."""
    tensors = call.tensors(case)
    with _anomaly_mode():
        value = call.forward(case, tensors)
        if value.isfinite().all():
            yield from _back_again(case, call, tensors, value)


@contextmanager
def _anomaly_mode() -> Iterator[None]:
    """detect_anomaly without its warnings, of being slow and of where the NaN is."""
    before = torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.autograd.set_detect_anomaly(before)


@rule(
    "must",
    cases=vary(any_option, any_reduction, mixed_upstream),
    source="torch.autograd runs backward in threads of its own where there is a GPU",
    needs=GRADIENT,
    share=0.4,
    shows="""
        from concurrent.futures import ThreadPoolExecutor
        loss = {call}
        with ThreadPoolExecutor(1) as pool:
            pool.submit(loss.backward, upstream).result()
    """,
)
def backward_from_a_thread(case: Case, call: Caller) -> Judgement:
    """Backward may run in another thread than forward."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(torch.autograd.backward, value, upstream)
        call.guard("backward from a thread", asked.result)
    yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))
