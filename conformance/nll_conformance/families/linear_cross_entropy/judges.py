"""How the longer sentences of the family are judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...bounds import FORMATS
from ...errors import TargetRaised
from ...judge import agrees, compare, gradients_agree, holds, identical
from ...model import Case, Finding, Judgement, Measured
from ...observe import Caller
from ...truth import Exact, Truth
from . import oracle

#: What the reproducers of three rules do: see ``shows`` of the rule decorator.
ONE_GRADIENT_AT_A_TIME_SHOWN = """
        grads = []
        for leaf in [{leaves}]:
            loss = {call}
            grads += torch.autograd.grad(loss, leaf, upstream)
        for leaf, grad in zip([{leaves}], grads):
            leaf.grad = grad
    """
TIED_SHOWN = """
        linear_weight = input
        loss = {call}
        loss.backward(upstream)
    """
HEAD_CHANGED_BEFORE_BACKWARD_SHOWN = """
        leaves = [{leaves}]
        [{leaves}] = [leaf * 1.0 for leaf in leaves]
        loss = {call}
        with torch.no_grad():
            linear_weight.mul_(-3.0).add_(1.0)
        try:
            loss.backward(upstream)
        except Exception:
            raise SystemExit(0)  # refused, which is right
        [{leaves}] = leaves
    """
HEADS_SHOWN = """
        leaves = [{leaves}]
        shared = [input, globals().get("weight")]
        def two(own):  # heads (C, 2, H), biases (C, 2), targets (N, 2): the other one first
            if any(own is each for each in shared):
                return own
            return torch.stack([own.detach().flip(0), own], 1)
        [{names}] = [two(own) for own in [{names}]]
        try:
            loss = {call}
            assert loss.shape == target.shape, loss.shape
            loss.backward(torch.stack([torch.zeros_like(upstream), upstream], 1))
        except AssertionError:
            raise
        except Exception:
            raise SystemExit(0)  # refused, which is right
        loss = loss[:, 1]
        [{leaves}] = leaves
    """
LOGITS_NEVER_WHOLE_SHOWN = """
        from torch.utils._python_dispatch import TorchDispatchMode

        class Largest(TorchDispatchMode):
            nbytes = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                made = func(*args, **(kwargs or dict()))
                for tensor in made if isinstance(made, (tuple, list)) else (made,):
                    if isinstance(tensor, torch.Tensor):
                        self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
                return made

        with Largest() as largest:
            loss = {call}
            {backward}
        logits = input.shape[0] * linear_weight.shape[0] * input.element_size()
        assert 2 * largest.nbytes < logits, (largest.nbytes, logits)
    """


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches for the largest memory that a tensor made meanwhile has, in bytes."""

    nbytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return made


def logits_never_whole(case: Case, call: Caller) -> Judgement:
    """The largest tensor of forward and backward stays below half of the logits."""
    tensors = call.tensors(case)
    with _Largest() as largest:  # type: ignore[no-untyped-call]
        value = call.forward(case, tensors)
        if case.upstream is not None and value.shape == case.upstream.shape:
            call.backward(value, call.upstream(case, value))
    hidden, head = tensors["input"], tensors["linear_weight"]
    logits = hidden.shape[0] * head.shape[0] * hidden.element_size()
    yield from holds(
        2 * largest.nbytes < logits,
        f"a tensor of {largest.nbytes} bytes was made, where all logits are {logits} bytes",
    )


def only_asked(case: Case, call: Caller) -> Judgement:
    """The gradients that were asked for are right, and no other tensor got one."""
    seen = call(case)
    yield from agrees(seen)
    for name, tensor in seen.arguments.items():
        if not tensor.requires_grad and tensor.grad is not None:
            yield Finding(f"{name} requires no gradient but got one", kind="contract")


def under_autocast(case: Case, call: Caller) -> Judgement:
    """As if all float tensors had been cast to bfloat16, at worst; float64 is never cast."""
    tensors = call.tensors(case)
    with torch.autocast(case.device, dtype=torch.bfloat16):
        value = call.forward(case, tensors)
    if case.upstream is not None and value.shape == case.upstream.shape:
        call.backward(value, call.upstream(case, value))
    low = case.dtype != "float64"
    cast = {
        name: tensor.detach().bfloat16() if low and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    kind = torch.bfloat16 if low and value.dtype == torch.float32 else value.dtype
    truth = oracle.truth(
        case,
        cast,
        precision="input_dtype",
        output_dtype=kind,
        divergences=call.subject.divergences,
    )
    yield from compare("loss", value, truth.value, case.dtype)
    yield from _held(truth, call.grads(tensors), tensors, case.dtype)


def _held(
    truth: Truth,
    grads: dict[str, torch.Tensor | None],
    tensors: dict[str, torch.Tensor],
    dtype: str,
) -> Judgement:
    """Gradients cast back to their tensors' dtypes: one more rounding."""
    for name, exact in truth.grads.items():
        got, form = grads.get(name), FORMATS[tensors[name].dtype]
        yield from holds(got is not None, f"no gradient arrived at {name!r}")
        if got is not None:
            bound = exact.bound + form.u * exact.value.abs() + form.tiny
            yield from compare(f"gradient of {name}", got, Exact(exact.value, bound), dtype)


def one_gradient_at_a_time(case: Case, call: Caller) -> Judgement:
    """torch.autograd.grad of one tensor at a time gives the gradients of backward."""
    names = [name for name, recipe in case.recipe if recipe.grad]
    for name in names:
        tensors = call.tensors(case)
        value = call.forward(case, tensors)
        grad = call.gradient(value, tensors[name], call.upstream(case, value))
        alone = replace(
            case,
            recipe=tuple((n, replace(r, grad=r.grad and n == name)) for n, r in case.recipe),
        )
        yield from gradients_agree(call.observation(alone, value, {name: grad}, tensors))


def tied(case: Case, call: Caller) -> Judgement:
    """One tensor as hidden states and head gets the sum of both gradients.

    The bound is the sum of both bounds and of one more addition in the tensor's dtype.
    """
    tensors = call.tensors(case)
    both = tensors["input"]
    passed = {**tensors, "linear_weight": both}
    value = call.forward(case, passed)
    call.backward(value, call.upstream(case, value))
    parts = oracle.truth(
        case,
        {name: tensor.detach() for name, tensor in passed.items()},
        precision=call.subject.precision,
        output_dtype=value.dtype,
        divergences=call.subject.divergences,
    )
    yield from compare("loss", value, parts.value, case.dtype)
    first, second = parts.grads["input"], parts.grads["linear_weight"]
    size = first.value.abs() + second.value.abs() + first.bound + second.bound
    form = FORMATS[both.dtype]
    bound = first.bound + second.bound + form.u * size + form.tiny
    exact = Exact(first.value + second.value, bound)
    yield from holds(both.grad is not None, "no gradient arrived at the tied tensor")
    if both.grad is not None:
        yield from compare("gradient of input", both.grad, exact, case.dtype)


def changed_before_backward(case: Case, call: Caller) -> Judgement:
    """The old gradient or an error after the head was changed in place."""
    tensors = call.tensors(case)
    passed = {n: t * 1.0 if t.requires_grad else t for n, t in tensors.items()}
    value = call.forward(case, passed)
    with torch.no_grad():
        passed["linear_weight"].mul_(-3.0).add_(1.0)
    yield Measured()
    try:
        call.backward(value, call.upstream(case, value))
    except TargetRaised:
        return
    yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))


def curvature(case: Case, call: Caller) -> Judgement:
    """(Hessian in the hidden states) v is the exact one, within a first-order bound."""
    tensors = call.tensors(case)
    leaf = tensors["input"]
    # Written out in the rule's reproducer, too.
    v = ((torch.arange(leaf.numel()) * 5 % 7 - 3).view(leaf.shape) / 4).to(leaf.dtype)
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    grad = call.gradient(value, leaf, upstream, create_graph=True)
    got = call.gradient(grad, leaf, v.to(leaf.device))
    exact = oracle.curvature(case, case.build(), v.double())
    yield from compare("second derivative", got, exact, case.dtype)


def unchanged(case: Case, call: Caller) -> Judgement:
    """Head and bias are bit for bit what they were, after forward and backward."""
    seen, before = call(case), case.build()
    for name, tensor in seen.arguments.items():
        if name not in call.subject.implementation.mutates:
            yield from identical(f"{name} after the call", tensor, before[name])


def heads(case: Case, call: Caller) -> Judgement:
    """With another head in front of it, position 1 of 2 is the plain call; or it is refused."""
    leaves = call.tensors(case)

    def two(own: torch.Tensor) -> torch.Tensor:
        return torch.stack([own.detach().flip(0), own], 1)

    shared = ("input", "weight")
    given = {name: own if name in shared else two(own) for name, own in leaves.items()}
    try:
        value = call.forward(case, given)
        shape = tuple(given["target"].shape)
        said = f"a head (C, 2, H) gives losses of shape {tuple(value.shape)}, expected {shape}"
        yield from holds(tuple(value.shape) == shape, said, kind="shape")
        if value.shape != shape:
            return
        upstream = call.upstream(case, value[:, 1])
        call.backward(value, torch.stack([torch.zeros_like(upstream), upstream], 1))
    except TargetRaised:
        yield Measured()
        return
    yield from agrees(call.observation(case, value[:, 1], call.grads(leaves), leaves))
