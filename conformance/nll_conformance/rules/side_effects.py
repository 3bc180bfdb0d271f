"""A loss computes; it changes nothing else."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from .. import shown, state
from ..cases import any_reduction, mixed_upstream, one_of, option, vary
from ..classification import ignored, several_rows, weighted
from ..contract import rule
from ..errors import TargetRaised
from ..judge import gradients_agree, holds, identical
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..originals import picture
from ..together import (
    any_call,
    any_inputs,
    any_inputs_or_wide,
    any_option,
    edge_numbers,
    ignored_rows,
    maybe_forward_only,
)
from ._families import CLASSES

SOURCE = "a loss is a function of its arguments"


def _run(case: Case, call: Caller) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """Forward and backward; the tensors that were passed and the upstream gradient."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    upstream = None
    if case.upstream is not None and value.shape == case.upstream.shape:
        upstream = call.upstream(case, value)
        call.backward(value, upstream)
    return tensors, upstream


def _unchanged(case: Case, call: Caller) -> Judgement:
    allowed = call.subject.implementation.mutates
    before = case.build()
    tensors, _ = _run(case, call)
    for name, tensor in tensors.items():
        if name not in allowed:
            yield from identical(f"{name} after the call", tensor, before[name])
        said = f"{name} requires grad after the call, {before[name].requires_grad} before"
        yield from holds(tensor.requires_grad == before[name].requires_grad, said)


@rule(
    "must",
    cases=vary(any_inputs, any_reduction, maybe_forward_only),
    source=SOURCE,
    revision=2,
    shows=shown.INPUTS_KEPT,
)
def inputs(case: Case, call: Caller) -> Judgement:
    """The caller's tensors are the same after forward and backward."""
    yield from _unchanged(case, call)


@rule(
    "must",
    cases=vary(edge_numbers, any_reduction, maybe_forward_only),
    source="a clamp in place (FluxML/Flux.jl#437)",
    families=("cross_entropy", "nll", "prob_nll", "vocab_parallel_cross_entropy"),
    share=0.5,
    shows=shown.INPUTS_KEPT,
)
def edge_inputs(case: Case, call: Caller) -> Judgement:
    """Numbers at the edge of what is legal are not clamped in the caller's tensors."""
    yield from _unchanged(case, call)


@rule(
    "must",
    cases=vary(any_option, any_reduction),
    source=SOURCE,
    share=0.5,
    shows="""
        before = [tensor.detach().clone() for tensor in [{names}]]
        with torch.no_grad():
            loss = {call}
        for tensor, old in zip([{names}], before):
            torch.testing.assert_close(tensor.detach(), old, rtol=0, atol=0, equal_nan=True)
    """,
)
def inputs_under_no_grad(case: Case, call: Caller) -> Judgement:
    """The caller's tensors are the same after a call that needs no gradient."""
    allowed = call.subject.implementation.mutates
    before, tensors = case.build(), call.tensors(case)
    with torch.no_grad():
        call.forward(case, tensors)
    for name, tensor in tensors.items():
        if name not in allowed:
            yield from identical(f"{name} after the call", tensor, before[name])


@rule(
    "must",
    cases=vary(several_rows, ignored(-100, 1), any_reduction),
    source=SOURCE,
    needs=("ignore_index",),
    families=CLASSES,
    shows=shown.INPUTS_KEPT,
)
def ignored_targets(case: Case, call: Caller) -> Judgement:
    """Ignored targets are not overwritten in the caller's tensor."""
    yield from _unchanged(case, call)


@rule(
    "must",
    cases=vary(several_rows, weighted, any_reduction),
    source=SOURCE,
    needs=("weight",),
    families=CLASSES,
    share=0.5,
    shows=shown.INPUTS_KEPT,
)
def weights(case: Case, call: Caller) -> Judgement:
    """The caller's weight is the same after forward and backward."""
    yield from _unchanged(case, call)


@rule(
    "must",
    cases=vary(several_rows, ignored(-100), option("reduction", "none"), mixed_upstream),
    source="autograd may share the upstream gradient with others (apex xentropy)",
    needs=("gradient", "reduction_none", "ignore_minus_100"),
    families=CLASSES,
    shows=shown.UPSTREAM_KEPT,
)
def upstream_of_ignored(case: Case, call: Caller) -> Judgement:
    """Backward does not write to the upstream gradient, nor where rows are ignored."""
    yield from _upstream_unchanged(case, call)


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source="autograd may share the upstream gradient with others",
    needs=("gradient",),
    share=1.0,
    shows=shown.UPSTREAM_KEPT,
)
def upstream(case: Case, call: Caller) -> Judgement:
    """Backward does not write to the upstream gradient."""
    yield from _upstream_unchanged(case, call)


def _upstream_unchanged(case: Case, call: Caller) -> Judgement:
    _, upstream = _run(case, call)
    if upstream is not None:
        want = call.upstream(case, upstream)
        yield from identical("the upstream gradient after backward", upstream, want)


@rule(
    "must",
    cases=vary(any_inputs_or_wide, any_reduction),
    source=SOURCE,
    share=0.6,
    revision=3,
    shows=state.SHOWN,
)
def process_state(case: Case, call: Caller) -> Judgement:
    """Process-wide state is as before: RNG, grad mode, dtypes, threads, flags, environment.

    Functions of torch and of the standard library, signal handlers, hooks, streams and the
    garbage collector belong to it, also where importing the loss replaced them.
    """
    replaced = list(call.subject.replaced)
    before = state.take()
    try:
        _run(case, call)
        replaced += picture().put_back(everything=True)
        changed = [*call.changed, *replaced, *state.take().changed_since(before)]
    finally:
        state.restore(before)
    names = ", ".join(dict.fromkeys(changed))
    yield from holds(not changed, f"the call changed: {names}", kind="state")


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source=SOURCE,
    share=0.2,
    shows="""
        import gc, weakref
        loss = {call}
        {backward}
        watched = [weakref.ref(tensor) for tensor in [{names}]]
        del loss, {names}
        gc.collect()
        assert all(ref() is None for ref in watched), "still referenced after the call"
    """,
)
def references(case: Case, call: Caller) -> Judgement:
    """No reference to the caller's tensors outlives the call and its graph."""
    with _only_new_garbage():
        tensors, upstream = _run(case, call)
        watched = {name: weakref.ref(tensor) for name, tensor in tensors.items()}
        del tensors, upstream
        gc.collect()
    kept = [name for name, ref in watched.items() if ref() is not None]
    yield from holds(not kept, f"still referenced after the call: {', '.join(kept)}", kind="kept")


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source=SOURCE,
    share=0.2,
    shows="""
        import gc
        def once():
            {tensors}
            loss = {call}
            {backward}
        def living():
            gc.collect()
            return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        once()
        before = living()
        for _ in range(4):
            once()
        left = living() - before
        assert left < 4, ("tensors left behind by 4 calls", left)
    """,
)
def growth(case: Case, call: Caller) -> Judgement:
    """Repeated calls leave no tensors behind."""
    with _only_new_garbage():
        _run(case, call)
        before = _live_tensors()
        for _ in range(4):
            _run(case, call)
        left = _live_tensors() - before
    yield from holds(left < 4, f"4 calls left {left} tensors behind", kind="growth")


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source=SOURCE,
    share=0.2,
    shows="""
        import multiprocessing, os, threading
        def left():
            files = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
            return len(files), threading.active_count(), len(multiprocessing.active_children())
        loss = {call}
        before = left()
        for _ in range(3):
            loss = {call}
        assert all(new < old + 3 for new, old in zip(left(), before)), (before, left())
    """,
)
def leftovers(case: Case, call: Caller) -> Judgement:
    """Repeated calls leave no threads, child processes, open or written files behind.

    The first call may start what the later ones share.
    """
    _run(case, call)
    before = state.leftovers()
    with state.written_files() as written:
        for _ in range(3):
            _run(case, call)
    after = {**state.leftovers(), "files written": len(written)}
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    left = ", ".join(f"{count} {name}" for name, count in grown.items() if count >= 3)
    yield from holds(not left, f"3 calls left behind: {left}", kind="leftovers")


def _live_tensors() -> int:
    gc.collect()
    # By type: isinstance would run the __class__ properties of foreign objects.
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Keep the garbage collector off all that existed before: torch alone is 300 000 objects."""
    frozen = _frozen_by_others()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()


@cache
def _frozen_by_others() -> bool:
    """Whether something is frozen already, as in a worker; counting it takes 30 ms."""
    return gc.get_freeze_count() > 0


@rule(
    "must",
    cases=vary(one_of(any_call, ignored_rows), any_reduction),
    source="a loss that overwrites its input must not feed others wrong numbers",
    needs=("gradient",),
    share=0.6,
    revision=3,
    shows="""
        leaf = input
        input = leaf * 1.0
        other = (input * input).sum()
        try:
            loss = {bare_call}
            (grad,) = torch.autograd.grad(other, leaf, retain_graph=True)
            torch.autograd.backward([other, loss], [torch.zeros_like(other), upstream])
        except Exception:
            if not {mutates}:
                raise
            raise SystemExit(0)  # refused, which is right
        assert torch.equal(grad, 2 * leaf), "the other consumer got a wrong gradient"
        input = leaf
    """,
)
def second_consumer(case: Case, call: Caller) -> Judgement:
    """Another consumer of the same logits gets its right gradient too, or an error.

    Where a loss overwrites the logits (declared), what else was computed from them must not
    be differentiated with the overwritten numbers silently.
    """
    mutates = call.subject.implementation.mutates
    tensors = call.tensors(case)
    leaf = tensors["input"]
    shared = leaf * 1.0
    other = (shared * shared).sum()
    passed = {**tensors, "input": shared}
    direct = call.family.positional
    positional = [passed[name] for name in direct]
    keywords = {n: t for n, t in passed.items() if n not in direct}
    keywords |= call.options(case)
    yield Measured()
    beside = "the call beside another consumer"
    try:
        value = call.guard(beside, lambda: call.subject.function(*positional, **keywords))
        upstream = call.upstream(case, value)
        if upstream.shape != value.shape:
            return
        of_other = call.guard(
            beside, lambda: torch.autograd.grad(other, leaf, retain_graph=True)[0]
        )
        grads = [torch.zeros_like(other), upstream]
        call.guard(beside, lambda: torch.autograd.backward([other, value], grads))
    except TargetRaised:
        if mutates:
            return
        raise
    yield from identical("the other consumer's gradient", of_other, 2 * leaf.detach())
    yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))
