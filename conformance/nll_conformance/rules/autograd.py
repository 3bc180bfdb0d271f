"""The loss as a node of a graph: backward again, accumulation, tensors changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import bounds
from ..cases import (
    any_reduction,
    mixed_upstream,
    one_of,
    scalar_upstream,
    sibling,
    unreduced,
    usual_upstream,
    vary,
)
from ..classification import (
    several_rows,
    weighted,
)
from ..contract import rule
from ..errors import TargetRaised
from ..judge import (
    agrees,
    compare,
    gradients_agree,
    holds,
    identical,
    truth_of,
)
from ..model import Case, Finding, Judgement, Measured, Observation
from ..observe import Caller
from ..together import any_call, ignored_rows, maybe_an_option, squashed
from ..truth import Exact
from ._families import CLASSES, GIVEN_LOGITS

SOURCE = "torch.autograd: gradient of the returned loss"
GRADIENT = ("gradient",)
ROWS = ("gradient", "reduction_none")


@rule(
    "must",
    cases=vary(any_call, one_of(usual_upstream, scalar_upstream), any_reduction),
    source=SOURCE,
    needs=GRADIENT,
    shows="""
        loss = {call}
        loss.backward(torch.full_like(loss, 3.0), retain_graph=True)
        for leaf in [{leaves}]:
            leaf.grad = None
        loss.backward(upstream)
    """,
)
def backward_twice(case: Case, call: Caller) -> Judgement:
    """Backward works twice with retain_graph, each time with the right gradient."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    ones = torch.full_like(value, 3.0)
    call.backward(value, ones, retain_graph=True)
    for tensor in tensors.values():
        tensor.grad = None
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    call.backward(value, upstream)
    yield from agrees(call.observation(case, value, call.grads(tensors), tensors))


@rule(
    "must",
    cases=vary(any_call, any_reduction, scalar_upstream),
    source=SOURCE,
    needs=GRADIENT,
    revision=2,
    shows="""
        loss = {call}
        loss.backward(upstream)
        loss = {call}
        loss.backward(upstream)
    """,
)
def accumulates(case: Case, call: Caller) -> Judgement:
    """A gradient is added to the one that is there, also to that of a first call."""
    tensors = call.tensors(case)
    first = call.forward(case, tensors)
    call.backward(first, call.upstream(case, first))
    second = call.forward(case, tensors)
    call.backward(second, call.upstream(case, second))
    yield from _doubled(call.observation(case, second, call.grads(tensors), tensors))


def _doubled(seen: Observation) -> Judgement:
    """Twice the gradient, each addend within its bound and the sum rounded once."""
    for name, exact in truth_of(seen).grads.items():
        got = seen.grads[name]
        if got is None:
            yield Finding(f"no gradient arrived at {name!r}", kind="no gradient", of=name)
            return
        bound = bounds.rounded(2 * exact.value, 2 * exact.bound, bounds.FORMATS[got.dtype])
        what = f"gradient of {name}"
        for item in compare(what, got, Exact(2 * exact.value, bound), seen.case.dtype):
            yield replace(item, of=name) if isinstance(item, Finding) else item


@rule(
    "must",
    cases=vary(squashed, any_reduction),
    source="logits are taken as they are (keras.backend drops a softmax or sigmoid before them)",
    needs=GRADIENT,
    families=(*GIVEN_LOGITS, "bce_with_logits"),
    share=0.4,
    shows="""
        if target.shape == input.shape:
            input = input.logit().sigmoid()
        else:
            input = input.log().softmax(-1)  # the same numbers
        input.retain_grad()
        loss = {call}
        loss.backward(upstream)
    """,
)
def made_by_softmax(case: Case, call: Caller) -> Judgement:
    """Logits that a softmax (or sigmoid) has made are logits all the same."""
    leaves = call.tensors(case)
    given = leaves["input"]
    each = case.family == "bce_with_logits"
    made = given.logit().sigmoid() if each else given.log().softmax(-1)  # the same numbers
    made.retain_grad()
    tensors = {**leaves, "input": made}
    value = call.forward(case, tensors)
    grads = call.flow_back(case, tensors, value)
    yield from agrees(call.observation(case, value, grads, tensors))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=GRADIENT,
    shows="""
        leaves = [{leaves}]
        [{leaves}] = [leaf.neg().neg() for leaf in leaves]
        loss = {call}
        assert not any(inner.retains_grad for inner in [{leaves}]), "the call asked for .grad"
        (loss * upstream).sum().backward()
        [{leaves}] = leaves
    """,
)
def through_a_graph(case: Case, call: Caller) -> Judgement:
    """Inputs that are results of other operations get their gradient through the graph."""
    leaves = call.tensors(case)
    inner = {
        # negation alone is exact both ways, subnormal gradients too
        name: leaf.neg().neg() if leaf.requires_grad else leaf
        for name, leaf in leaves.items()
    }
    value = call.forward(case, inner)
    for name, tensor in inner.items():
        said = f"the call made {name}, a result of others, retain its gradient"
        yield from holds(not tensor.retains_grad, said)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    # A consumer behind the loss: the upstream gradient is then an autograd result as well.
    total = (value * upstream).sum()
    call.backward(total, torch.ones_like(total))
    yield from gradients_agree(call.observation(case, value, call.grads(leaves), leaves))


@rule(
    "must",
    cases=vary(any_call, any_reduction),
    source=SOURCE,
    needs=GRADIENT,
    shows="""
        loss = {call}
        grads = torch.autograd.grad(loss, [{leaves}], upstream)
        assert all(leaf.grad is None for leaf in [{leaves}]), "autograd.grad also wrote .grad"
        for leaf, grad in zip([{leaves}], grads):
            leaf.grad = grad
    """,
)
def autograd_grad(case: Case, call: Caller) -> Judgement:
    """torch.autograd.grad gives the same gradient as backward and leaves .grad alone."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    grads = _asked(call, tensors, value, call.upstream(case, value))
    yield from gradients_agree(call.observation(case, value, {**grads}, tensors))
    for name in grads:
        if tensors[name].grad is not None:
            yield Finding(f"torch.autograd.grad also wrote {name}.grad", kind="contract")


def _asked(
    call: Caller,
    tensors: dict[str, Tensor],
    value: Tensor,
    upstream: Tensor,
    *,
    retain_graph: bool = False,
) -> dict[str, Tensor]:
    """The gradients as torch.autograd.grad hands them out, which nothing has copied."""
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    grads = call.guard(
        "torch.autograd.grad",
        lambda: torch.autograd.grad(
            value, list(leaves.values()), upstream, retain_graph=retain_graph
        ),
    )
    return dict(zip(leaves, grads, strict=True))


@rule(
    "must",
    cases=vary(any_call, one_of(usual_upstream, mixed_upstream), any_reduction),
    source=SOURCE,
    needs=GRADIENT,
    share=0.8,
    shows="""
        loss = {call}
        kept = torch.autograd.grad(loss, [{leaves}], upstream)
        before = [grad.clone() for grad in kept]
        {other_tensors}
        loss = {other_call}
        torch.autograd.grad(loss, [{leaves}], upstream)
        for grad, old in zip(kept, before):
            torch.testing.assert_close(grad, old, rtol=0, atol=0, equal_nan=True)
    """,
)
def gradient_is_kept(case: Case, call: Caller) -> Judgement:
    """A gradient that was handed out stays what it was when the loss is differentiated again."""
    kept: dict[str, Tensor] = {}
    for each in (case, sibling(case)):
        tensors = call.tensors(each)
        value = call.forward(each, tensors)
        upstream = call.upstream(each, value)
        if upstream.shape != value.shape:
            return
        grads = _asked(call, tensors, value, upstream)
        if not kept:
            kept, before = grads, {name: grad.clone() for name, grad in grads.items()}
    for name, grad in kept.items():
        same = [g.to_dense() if g.layout != torch.strided else g for g in (grad, before[name])]
        yield from identical(f"the first gradient of {name}", *same)


@rule(
    "should",
    cases=vary(any_call, any_reduction),
    source=SOURCE + "; torch.gather(sparse_grad=True)",
    needs=GRADIENT,
    share=0.6,
    revision=2,
    shows="""
        loss = {call}
        loss.backward(upstream)
        for leaf in [{leaves}]:
            assert leaf.grad is not None, "no gradient arrived"
            assert leaf.grad.layout == leaf.layout, leaf.grad.layout
            assert leaf.grad.shape == leaf.shape, leaf.grad.shape
            assert leaf.grad.dtype == leaf.dtype, leaf.grad.dtype
            assert leaf.grad.device == leaf.device, leaf.grad.device
            assert not leaf.grad.requires_grad, "the gradient requires grad itself"
    """,
)
def gradient_meta(case: Case, call: Caller) -> Judgement:
    """The gradient has its input's shape, dtype, device and layout, and is no part of a graph."""
    seen = call(case)
    for name in seen.grads:
        yield Measured()
        grad = seen.arguments[name].grad  # as it arrived: those of the observation are dense
        if grad is None:
            yield Finding(f"no gradient arrived at {name!r}", kind="no gradient")
            return
        own = seen.arguments[name]
        got = (tuple(grad.shape), grad.dtype, grad.device, grad.layout)
        want = (tuple(own.shape), own.dtype, own.device, own.layout)
        if got != want:
            yield Finding(f"the gradient of {name} is {got}, expected {want}", kind="shape")
        if grad.requires_grad:
            yield Finding(f"the gradient of {name} requires grad itself", kind="contract")


def _changed_between(
    case: Case, call: Caller, change: Callable[[dict[str, Tensor]], object]
) -> Judgement:
    """Tensors change in place between forward and backward, which knows the old or refuses."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    with torch.no_grad():
        change(tensors)
    yield Measured()
    try:
        call.backward(value, call.upstream(case, value))
    except TargetRaised:
        return
    yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))


@rule(
    "must",
    cases=vary(several_rows, one_of(maybe_an_option, ignored_rows), weighted),
    source="torch.autograd: saved tensors are version checked",
    needs=("gradient", "weight"),
    share=0.5,
    families=CLASSES,
    shows="""
        loss = {call}
        weight.mul_(-3.0).add_(1.0)
        try:
            loss.backward(upstream)
        except Exception:
            raise SystemExit(0)  # refused, which is right
    """,
)
def weight_changed_before_backward(case: Case, call: Caller) -> Judgement:
    """A weight changed in place between forward and backward gives the old gradient or an error."""
    yield from _changed_between(case, call, lambda given: given["weight"].mul_(-3.0).add_(1.0))


@rule(
    "must",
    cases=vary(any_call),
    source="torch.autograd: saved tensors are version checked",
    needs=GRADIENT,
    share=0.5,
    families=CLASSES,
    shows="""
        loss = {call}
        with torch.no_grad():
            input.mul_(-3.0).add_(1.0)
        try:
            loss.backward(upstream)
        except Exception:
            raise SystemExit(0)  # refused, which is right
    """,
)
def input_changed_before_backward(case: Case, call: Caller) -> Judgement:
    """Logits changed in place between forward and backward give the old gradient or an error."""
    yield from _changed_between(case, call, lambda given: given["input"].mul_(-3.0).add_(1.0))


@rule(
    "must",
    cases=vary(several_rows, one_of(maybe_an_option, ignored_rows)),
    source="torch.autograd: saved tensors are version checked",
    needs=GRADIENT,
    share=0.5,
    families=CLASSES,
    shows="""
        loss = {call}
        target.copy_(target.flip(0).clone())
        try:
            loss.backward(upstream)
        except Exception:
            raise SystemExit(0)  # refused, which is right
    """,
)
def target_changed_before_backward(case: Case, call: Caller) -> Judgement:
    """A target changed in place between forward and backward gives the old gradient or an error."""
    yield from _changed_between(
        case, call, lambda given: given["target"].copy_(given["target"].flip(0).clone())
    )


@rule(
    "must",
    cases=vary(any_call, one_of(usual_upstream, scalar_upstream), any_reduction),
    source="training loops clip and zero gradients in place",
    needs=GRADIENT,
    share=0.8,
    shows="""
        loss = {call}
        for grad in torch.autograd.grad(loss, [{leaves}], upstream, retain_graph=True):
            grad.zero_()
        loss.backward(upstream)
    """,
)
def grad_changed_in_place(case: Case, call: Caller) -> Judgement:
    """A gradient that was clipped or zeroed in place leaves the next backward right.

    The gradient that arrives must not be a buffer that the loss still uses.
    """
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    for grad in _asked(call, tensors, value, upstream, retain_graph=True).values():
        grad.zero_()
    call.backward(value, upstream)
    yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))


@rule(
    "must",
    cases=vary(any_call, any_reduction, scalar_upstream),
    source="training loops scale the loss in place (loss /= steps)",
    needs=GRADIENT,
    share=0.8,
    shows="""
        loss = {call}
        try:
            loss /= 4.0
            loss.backward(upstream * 4.0)
        except RuntimeError:
            raise SystemExit(0)
    """,
)
def loss_scaled_in_place(case: Case, call: Caller) -> Judgement:
    """A loss that is divided in place gives the divided gradient, or an error."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    yield Measured()
    try:
        value /= 4.0
        call.backward(value, upstream * 4.0)
    except (RuntimeError, TargetRaised):
        return
    seen = call.observation(case, value, call.grads(tensors), tensors)
    yield from gradients_agree(seen)


@rule(
    "should",
    cases=vary(any_call, unreduced, mixed_upstream),
    source="losses per token are masked in place (losses *= mask)",
    needs=ROWS,
    share=0.3,
    shows="""
        loss = {call}
        loss *= 0.5
        loss.backward(upstream)
        for leaf in [{leaves}]:
            leaf.grad *= 2
    """,
)
def losses_masked_in_place(case: Case, call: Caller) -> Judgement:
    """Losses per row may be multiplied in place before backward, which needs them no more."""
    tensors = call.tensors(case)
    value = call.forward(case, tensors)
    value = call.guard("losses *= 0.5", lambda: value.mul_(0.5))
    call.backward(value, call.upstream(case, value))
    # Doubling is exact, but for gradients so small that halving had been exact only there.
    grads = {n: None if g is None else g * 2 for n, g in call.grads(tensors).items()}
    yield from gradients_agree(call.observation(case, value, grads, tensors))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=GRADIENT,
    share=0.8,
    shows="""
        first = {call}
        loss = {call}
        torch.autograd.backward([first, loss], [upstream, upstream])
        for leaf in [{leaves}]:
            leaf.grad /= 2
    """,
)
def used_twice(case: Case, call: Caller) -> Judgement:
    """Two losses of the same tensors, differentiated together, give twice the gradient."""
    tensors = call.tensors(case)
    values = [call.forward(case, tensors) for _ in range(2)]
    upstream = call.upstream(case, values[0])
    if upstream.shape != values[0].shape:
        return
    call.guard(
        "backward of two losses",
        lambda: torch.autograd.backward(values, [upstream, upstream]),
    )
    # Halving is exact, but for gradients so small that doubling had been exact only there.
    grads = {n: None if g is None else g / 2 for n, g in call.grads(tensors).items()}
    yield from gradients_agree(call.observation(case, values[0], grads, tensors))
