"""no_grad, inference mode, compile, vmap, forward-mode derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from .. import shown
from ..cases import Draft, Draw, any_reduction, forward_only, one_of, option, vary
from ..classification import (
    several_rows,
    square,
)
from ..contract import rule
from ..errors import TargetRaised
from ..judge import agrees, compare, gradients_agree, holds, truth_of, value_agrees
from ..magnitudes import (
    masked_classes,
)
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..together import (
    any_option,
    any_option_or_count,
    ignored_rows,
    learned_target,
    maybe_an_option,
    maybe_shared_out,
)
from ..truth import Exact
from ._families import ELEMENTWISE, GIVEN_LOGITS, TARGETS_IN_NUMBERS, WHOLE

SOURCE = "torch.autograd: locally disabling gradient computation"


@rule(
    "must",
    cases=vary(any_option_or_count, any_reduction),
    source=SOURCE,
    share=1.5,
    shows="""
        with torch.no_grad():
            loss = {call}
            assert not torch.is_grad_enabled(), "the call switched gradients on"
        assert not loss.requires_grad, "the loss requires grad under torch.no_grad"
    """,
)
def no_grad(case: Case, call: Caller) -> Judgement:
    """Under torch.no_grad the loss is the same and carries no graph."""
    with torch.no_grad():
        value = call.forward(case, call.tensors(case))
        # The caller has put it back already, and says so.
        switched = torch.is_grad_enabled() or "grad mode" in call.changed
    yield from holds(not switched, "the call switched gradients on under torch.no_grad")
    yield from holds(not value.requires_grad, "the loss requires grad under torch.no_grad")
    yield from value_agrees(call.observation(replace(case, upstream=None), value, {}))


@rule(
    "must",
    cases=vary(any_option, any_reduction, forward_only),
    source=SOURCE,
    share=1.0,
    shows="""
        with torch.inference_mode():
            {tensors}
            loss = {call}
    """,
)
def inference_mode(case: Case, call: Caller) -> Judgement:
    """Under torch.inference_mode the loss is the same."""
    with torch.inference_mode():
        value = call.forward(case, call.tensors(case))
    yield from value_agrees(call.observation(case, value, {}))


@rule(
    "must",
    cases=vary(any_option, any_reduction, forward_only),
    source=SOURCE,
    share=1.5,
    shows="""
        loss = {call}
        assert not loss.requires_grad, "the loss requires grad, no input does"
    """,
)
def nothing_requires_grad(case: Case, call: Caller) -> Judgement:
    """Without any input that requires grad the loss is the same and requires none."""
    seen = call(case)
    yield from holds(not seen.value.requires_grad, "the loss requires grad, no input does")
    yield from value_agrees(seen)


@rule(
    "should",
    cases=vary(any_option, any_reduction),
    source="torch.set_default_device: a loss lives where its arguments do",
    share=0.6,
    shows="""
        try:
            with torch.device("meta"):
                loss = {call}
        except Exception as error:
            if "meta tensor" in str(error):
                raise SystemExit(0)  # it reads numbers there, which another device would have
            raise
        {backward}
    """,
)
def default_device(case: Case, call: Caller) -> Judgement:
    """Another default device changes nothing: what a loss allocates is on its input's device."""
    tensors = call.tensors(case)
    try:
        with torch.device("meta"):
            value = call.forward(case, tensors)
    except TargetRaised as raised:
        # It reads numbers there in Python, which any other device would have.
        if "meta tensor" in str(raised.error):
            return
        raise
    grads = call.flow_back(case, tensors, value)
    yield from agrees(call.observation(case, value, grads, tensors))


@rule(
    "must",
    cases=vary(any_option, any_reduction),
    source="torch.nn.Parameter: a Tensor that a module holds",
    share=0.3,
    shows="""
        {names}, *_ = [torch.nn.Parameter(t, t.requires_grad) if t.is_floating_point() else t
                       for t in [{names}]] + [None]
        loss = {call}
        {backward}
    """,
)
def parameters(case: Case, call: Caller) -> Judgement:
    """Tensors of a subclass of Tensor (weights in a Parameter) count like any."""
    tensors = {
        name: torch.nn.Parameter(t, t.requires_grad) if t.is_floating_point() else t
        for name, t in call.tensors(case).items()
    }
    value = call.forward(case, tensors)
    grads = call.flow_back(case, tensors, value)
    yield from agrees(call.observation(case, value, grads, tensors))


@rule(
    "should",
    cases=vary(any_option, any_reduction, forward_only),
    source="torch.nn.CrossEntropyLoss is the same in training and in evaluation",
    share=0.3,
    shows="""
        evaluate = lambda module, _: module.training and module.eval()
        torch.nn.modules.module.register_module_forward_pre_hook(evaluate)
        loss = {call}
    """,
)
def evaluation(case: Case, call: Caller) -> Judgement:
    """A module in eval() gives the same loss: smoothing and weights are not for training only."""
    with _in_evaluation():
        value = call.forward(case, call.tensors(case))
    yield from value_agrees(call.observation(case, value, {}))


@contextmanager
def _in_evaluation() -> Iterator[None]:
    """Every module that is called is in eval() while it is."""
    trained: list[torch.nn.Module] = []

    def evaluate(module: torch.nn.Module, _: object) -> None:
        trained.extend(each for each in module.modules() if each.training)
        module.eval()

    hook = register_module_forward_pre_hook(evaluate)
    try:
        yield
    finally:
        hook.remove()
        for module in trained:  # the target itself, maybe
            module.training = True


def _by_position(case: Case, call: Caller, names: Iterable[str]) -> Callable[..., torch.Tensor]:
    """The bare call as a function of its tensors alone."""
    bare = call.invoke

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        value = bare(case, dict(zip(names, arguments, strict=True)))
        assert isinstance(value, torch.Tensor)
        return value

    return loss


@rule(
    "must",
    cases=vary(several_rows, any_reduction),
    source="torch.compile",
    needs=("compile",),
    from_profile="standard",
    share=0.05,
    dtypes=("float32",),
    patience=4.0,
    shows="""
        def function({names}):
            return {call}
        loss = torch.compile(function)({names})
        {backward}
    """,
)
def compiled(case: Case, call: Caller) -> Judgement:
    """torch.compile gives the same loss and gradient, or refuses."""
    torch.compiler.reset()
    tensors = call.tensors(case)
    loss = _by_position(case, call, tensors)
    value = call.guard("the compiled call", lambda: torch.compile(loss)(*tensors.values()))
    grads = call.flow_back(case, tensors, value)
    yield from agrees(call.observation(case, value, grads, tensors))


@rule(
    "must",
    cases=vary(
        one_of(several_rows, ignored_rows),
        option("reduction", "none"),
        forward_only,
    ),
    source="torch.func.vmap",
    needs=("vmap", "unbatched", "reduction_none"),
    families=("cross_entropy", "nll", "prob_nll", *ELEMENTWISE),
    share=0.4,
    shows="""
        def row({names}):
            return {call}
        loss = torch.func.vmap(row)({names})
    """,
)
def vmap(case: Case, call: Caller) -> Judgement:
    """torch.func.vmap over unbatched rows gives the losses of the batch, or is refused."""
    tensors = call.tensors(case)
    rows = torch.func.vmap(_by_position(case, call, tensors))
    value = call.guard("vmap", lambda: rows(*tensors.values()))
    yield from value_agrees(call.observation(case, value, {}, tensors))


@rule(
    "must",
    cases=vary(
        one_of(square, several_rows),
        option("reduction", "none"),
        forward_only,
    ),
    source="torch.func.vmap: in_dims",
    needs=("vmap", "unbatched", "reduction_none"),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.3,
    shows="""
        def row(input, target):
            return {call}
        loss = torch.func.vmap(row, in_dims=(1, 0))(input.T, target)
    """,
)
def vmap_over_columns(case: Case, call: Caller) -> Judgement:
    """torch.func.vmap over the second dimension gives the losses of the batch, or is refused."""
    tensors = call.tensors(case)
    rows = torch.func.vmap(_by_position(case, call, ("input", "target")), in_dims=(1, 0))
    value = call.guard("vmap", lambda: rows(tensors["input"].T, tensors["target"]))
    yield from value_agrees(call.observation(case, value, {}, tensors))


@rule(
    "must",
    cases=vary(several_rows, maybe_an_option, option("reduction", "none"), forward_only),
    source="torch.func.vmap: tensors of the enclosing scope are not mapped",
    needs=("vmap", "unbatched", "reduction_none"),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.4,
    shows="""
        def row(input, target):
            return {call}
        loss = torch.func.vmap(row)(input, target)
    """,
)
def vmap_with_options(case: Case, call: Caller) -> Judgement:
    """Weights that all rows share, and other options, do under vmap what they do without."""
    tensors = call.tensors(case)
    rows = torch.func.vmap(_of_row(case, call, tensors))
    value = call.guard("vmap", lambda: rows(tensors["input"], tensors["target"]))
    yield from value_agrees(call.observation(case, value, {}, tensors))


def _of_row(
    case: Case, call: Caller, tensors: dict[str, torch.Tensor]
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of input and target, every other tensor as it is."""

    def loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        value = call.invoke(case, {**tensors, "input": input, "target": target})
        assert isinstance(value, torch.Tensor)
        return value

    return loss


@rule(
    "must",
    cases=vary(several_rows, one_of(maybe_an_option, ignored_rows), option("reduction", "none")),
    source="torch.func: per-sample gradients are vmap of grad",
    needs=("vmap", "unbatched", "reduction_none", "gradient"),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.4,
    shows="""
        def row(input, target):
            return {call}
        input.grad = torch.func.vmap(torch.func.grad(row))(input, target)
    """,
)
def per_sample_gradients(case: Case, call: Caller) -> Judgement:
    """torch.func.vmap of torch.func.grad gives each row's own gradient, or is refused."""
    tensors = call.tensors(case)
    each = torch.func.vmap(torch.func.grad(_of_row(case, call, tensors)))
    grad = call.guard("vmap of grad", lambda: each(tensors["input"], tensors["target"]))
    bare = replace(case, upstream=None)
    value = call.forward(bare, tensors).detach()
    yield from gradients_agree(call.observation(case, value, {"input": grad}, tensors))


@rule(
    "must",
    cases=vary(ignored_rows, maybe_shared_out, any_reduction, forward_only),
    source="torch.func.vmap",
    needs=("vmap", "ignore_index"),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.4,
    shows="""
        def batch(input, target):
            return {call}
        other = target.clamp(0, input.shape[1] - 1).flip(0)  # where no row is ignored
        two = torch.stack([input.flip(0), input]), torch.stack([other, target])
        loss = torch.func.vmap(batch)(*two)[1]
    """,
)
def vmap_over_batches(case: Case, call: Caller) -> Judgement:
    """torch.func.vmap over two batches that ignore differently gives each its loss, or is refused.

    A mean divides by its own batch's rows.
    """
    tensors = call.tensors(case)
    input, target = tensors["input"], tensors["target"]
    other = target.clamp(0, input.shape[1] - 1).flip(0)
    two = torch.stack([input.flip(0), input]), torch.stack([other, target])
    value = call.guard("vmap", lambda: torch.func.vmap(_of_row(case, call, tensors))(*two))
    yield from value_agrees(call.observation(case, value[1], {}, tensors))


@rule(
    "must",
    cases=vary(one_of(several_rows, ignored_rows), any_reduction, forward_only),
    source="torch.func.vmap: in_dims of None",
    needs=("vmap",),
    families=("cross_entropy", "nll", "prob_nll"),
    share=0.4,
    revision=2,
    shows="""
        def batch(input, target):
            return {call}
        two = torch.stack([target.flip(0), target])
        loss = torch.func.vmap(batch, in_dims=(None, 0))(input, two)[1]
    """,
)
def vmap_over_targets(case: Case, call: Caller) -> Judgement:
    """torch.func.vmap over targets alone gives each its own loss, or is refused."""
    tensors = call.tensors(case)
    two = torch.stack([tensors["target"].flip(0), tensors["target"]])
    rows = torch.func.vmap(_of_row(case, call, tensors), in_dims=(None, 0))
    try:
        value = call.guard("vmap", lambda: rows(tensors["input"], two))
    except TargetRaised:
        # PyTorch smooths in place, which vmap refuses where the logits are the same for all.
        if not call.subject.fixed.get("label_smoothing"):
            raise
        yield Measured()
        return
    yield from value_agrees(call.observation(case, value[1], {}, tensors))


def _impossible_classes(draft: Draft, draw: Draw) -> None:
    """Some classes' logits are -inf, where logits are given."""
    of_logits = draft.context.family.name in GIVEN_LOGITS
    (masked_classes if of_logits else several_rows)(draft, draw)


@rule(
    "must",
    cases=vary(one_of(several_rows, _impossible_classes, ignored_rows)),
    source="torch.func.jvp",
    needs=("jvp", "gradient"),
    families=(*WHOLE, "linear_cross_entropy"),
    share=0.5,
    # In 16 bits the sum of the products says nothing within its bound.
    dtypes=("float64", "float32"),
    shows=shown.JVP,
)
def jvp(case: Case, call: Caller) -> Judgement:
    """The forward-mode derivative is the gradient's product with the direction, or refused."""
    yield from _along(case, call, "input")


@rule(
    "must",
    cases=vary(any_option, any_reduction),
    source="torch.func.jvp",
    needs=("jvp", "gradient"),
    families=(*WHOLE, "linear_cross_entropy"),
    dtypes=("float64", "float32"),
    shows=shown.JVP,
)
def jvp_with_options(case: Case, call: Caller) -> Judgement:
    """Every option has its part in the forward-mode derivative, or is refused there."""
    yield from _along(case, call, "input")


@rule(
    "should",
    cases=vary(learned_target, any_reduction),
    source="torch.func.jvp of all inputs (google-deepmind/optax#1762)",
    needs=("jvp", "gradient", "target_gradient"),
    families=TARGETS_IN_NUMBERS,
    share=0.5,
    dtypes=("float64", "float32"),
    shows="""
        def function(target):
            return {call}
        direction = ((torch.arange(target.numel()) * 5 % 7 - 3).view(target.shape) / 4).to(target)
        _, tangent = torch.func.jvp(function, (target,), (direction,))
        forward_mode_derivative = tangent.sum()
    """,
)
def jvp_of_target(case: Case, call: Caller) -> Judgement:
    """The forward-mode derivative by a target that is numbers is right, or refused; never zero.

    PyTorch's own kl_div, of which a loss may be made, loses it.
    """
    if dict(case.recipe)["target"].grad:
        yield from _along(case, call, "target")


def _along(case: Case, call: Caller, name: str) -> Judgement:
    """The forward-mode derivative by one tensor, in a direction that tells its entries apart."""
    tensors = call.tensors(case)
    # It requires grad: else torch does not ask an operator that knows no forward mode, and
    # the derivative is silently lost whatever the loss does.
    leaf = tensors[name].detach().requires_grad_()
    # Written out in the reproducer, too.
    steps = torch.arange(leaf.numel()) * 5 % 7 - 3
    direction = (steps.view(leaf.shape) / 4).to(leaf)

    def loss(tensor: torch.Tensor) -> torch.Tensor:
        value = call.invoke(case, {**tensors, name: tensor})
        assert isinstance(value, torch.Tensor)
        return value

    value, tangent = call.guard("jvp", lambda: torch.func.jvp(loss, (leaf,), (direction,)))
    truth = truth_of(call.observation(case, value, {}, tensors))
    if not bool(truth.value.value.isfinite().all()):
        return  # nothing counts: the derivative of 0/0 is anything
    exact = truth.grads[name]
    along = direction.cpu().double()
    roundoff = torch.finfo(leaf.dtype).eps
    size = exact.value.numel()
    magnitude = ((exact.value.abs() + exact.bound) * along.abs()).sum()
    bound = 2 * (exact.bound * along.abs()).sum() + size * roundoff * magnitude
    want = Exact((exact.value * along).sum(), bound)
    yield from compare("forward-mode derivative", tangent.sum(), want, case.dtype)
