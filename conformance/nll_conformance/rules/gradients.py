"""The gradient is the derivative of the loss that was returned, whatever flows back."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from .. import shown
from ..cases import (
    Draft,
    Draw,
    any_reduction,
    expanded_upstream,
    mixed_upstream,
    one_of,
    option,
    scalar_upstream,
    strided_upstream,
    unreduced,
    upstream,
    vary,
)
from ..classification import (
    VOCABULARIES,
    few_masses,
    heavy_class,
    heavy_weights,
    odd_rows,
    scattered,
    several_rows,
    unnormalised,
    weighted,
)
from ..contract import rule
from ..judge import (
    agrees,
    exact_zero,
    gradients_agree,
    holds,
)
from ..magnitudes import (
    confident_target,
    loss_scaled,
    wrong_target,
)
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ..second import curvature_agrees, forward_over_reverse_agrees
from ..together import (
    any_call,
    ignored_rows,
    learned_target,
    maybe_shared_out,
    several_or_spatial,
)
from ._families import CLASSES, CURVED, LOGITS, TARGETS_IN_NUMBERS

SOURCE = "torch.autograd: gradient of the returned loss"
GRADIENT = ("gradient",)
ROWS = ("gradient", "reduction_none")


@rule(
    "must",
    cases=vary(one_of(few_masses, scattered), unreduced),
    source=SOURCE,
    needs=GRADIENT,
    families=LOGITS,
)
def every_entry(case: Case, call: Caller) -> Judgement:
    """Each entry of the gradient is p_j - onehot_j, off-target ones as exact as the target's."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(heavy_class(3, 17, 102, 64, 129, 2, 257, 1024, 4097), unreduced),
    source=SOURCE,
    needs=GRADIENT,
    families=LOGITS,
)
def every_class(case: Case, call: Caller) -> Judgement:
    """Every class gets its gradient: first, last, block edges, the ragged tail."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(heavy_class(*VOCABULARIES), unreduced),
    source=SOURCE,
    needs=GRADIENT,
    families=LOGITS,
    share=0.4,
)
def large_vocabulary(case: Case, call: Caller) -> Judgement:
    """The gradient is exact for vocabularies of language models."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(confident_target),
    source=SOURCE,
    needs=GRADIENT,
    families=LOGITS,
)
def confident(case: Case, call: Caller) -> Judgement:
    """The target's gradient of a confident prediction is exact: (p - 1) must not be rounded away.

    In 16 bits p rounds to 1 before the subtraction unless the difference is taken first.
    """
    yield from gradients_agree(call(case))


@rule("must", cases=vary(wrong_target), source=SOURCE, needs=GRADIENT, families=LOGITS)
def wrong(case: Case, call: Caller) -> Judgement:
    """The gradient of a badly wrong prediction does not vanish: it is -1 at the target."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(several_rows, heavy_weights, upstream(offset=2.0**14)),
    source="torch.nn.CrossEntropyLoss: a mean is divided by the total weight, however large",
    needs=("gradient", "weight"),
    families=CLASSES,
    dtypes=("float16",),
    share=0.3,
)
def loss_scale_and_weights(case: Case, call: Caller) -> Judgement:
    """A loss scale times a class weight may be more than float16 holds; their mean is not."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_reduction, upstream(offset=1.0 + 2.0**-17)),
    source=SOURCE,
    needs=GRADIENT,
    dtypes=("float64", "float32"),
    share=0.4,
)
def upstream_near_one(case: Case, call: Caller) -> Judgement:
    """An upstream gradient that is nearly 1 is not taken for 1."""
    yield from agrees(call(case))


@rule("must", cases=vary(any_reduction, scalar_upstream), source=SOURCE, needs=GRADIENT)
def upstream_scale(case: Case, call: Caller) -> Judgement:
    """The upstream gradient multiplies: any size, either sign, zero."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(loss_scaled),
    source="torch.amp.GradScaler: the loss is scaled so that gradients do not underflow",
    needs=GRADIENT,
    families=LOGITS,
    dtypes=("float16",),
    share=0.5,
)
def loss_scale(case: Case, call: Caller) -> Judgement:
    """What is too small for float16 before the upstream gradient multiplies it is kept.

    Not asked of who declares that probabilities are kept in the input's dtype, or that the
    gradient lies over the logits.
    """
    seen = call(case)
    if seen.precision == "input_dtype" or call.subject.implementation.mutates:
        yield Measured(judged=False, discriminating=False)
    else:
        yield from gradients_agree(seen)


@rule(
    "must",
    cases=vary(option("reduction", "none"), odd_rows, mixed_upstream),
    source=SOURCE,
    needs=ROWS,
    families=CLASSES,
)
def upstream_rows(case: Case, call: Caller) -> Judgement:
    """Under "none" each row is scaled by its own upstream gradient, not by the first."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(option("reduction", "none"), several_or_spatial, expanded_upstream),
    source=SOURCE,
    needs=ROWS,
    families=CLASSES,
)
def upstream_expanded(case: Case, call: Caller) -> Judgement:
    """An upstream gradient of stride 0, as loss.sum().backward() sends it, counts for each row."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(option("reduction", "none"), several_or_spatial, strided_upstream),
    source=SOURCE,
    needs=ROWS,
    families=CLASSES,
)
def upstream_strided(case: Case, call: Caller) -> Judgement:
    """An upstream gradient that is not contiguous is read by its strides."""
    yield from gradients_agree(call(case))


def _weighted_and_ignored(draft: Draft, draw: Draw) -> None:
    if not draft.classes:
        any_call(draft, draw)
        return
    ignored_rows(draft, draw)
    if draft.can("weight"):
        weighted(draft, draw)


def _weighted_probabilities(draft: Draft, draw: Draw) -> None:
    """Shares of classes that do not sum to one, by themselves and by their weights."""
    if not draft.classes or not draft.can("soft_target"):
        any_call(draft, draw)
        return
    several_rows(draft, draw)
    unnormalised(draft, draw)
    maybe_shared_out(draft, draw)


@rule(
    "must",
    cases=vary(
        one_of(any_call, _weighted_and_ignored, _weighted_probabilities),
        any_reduction,
        scalar_upstream,
    ),
    source="torch.autograd: double backward",
    needs=("gradient", "double_backward"),
    share=1.0,
    revision=2,
    dtypes=("float64", "float32"),
    families=CURVED,
    shows=shown.SECOND_ORDER,
)
def second_order(case: Case, call: Caller) -> Judgement:
    """A second derivative is that of the gradient, or refused; never silently zero.

    Judged in float64 and float32 only, against the second derivative of the exact formula.
    """
    yield from curvature_agrees(case, call)


@rule(
    "must",
    cases=vary(any_call, any_reduction, scalar_upstream),
    source="torch.autograd: double backward of a function of the loss (pytorch#59477)",
    needs=("gradient", "double_backward"),
    share=0.8,
    dtypes=("float64", "float32"),
    families=CURVED,
    revision=2,
    shows=shown.SECOND_ORDER_SQUARED,
)
def second_order_squared(case: Case, call: Caller) -> Judgement:
    """The second derivative of the loss squared has the product of gradients, too, or is refused.

    Backward is a function of the upstream gradient, and is differentiated by it as well.
    """
    yield from curvature_agrees(case, call, squared=True)


@rule(
    "should",
    cases=vary(learned_target, any_reduction, scalar_upstream),
    source="torch.autograd: double backward of all inputs (pytorch#65466: zero for kl_div)",
    needs=("gradient", "double_backward", "target_gradient"),
    share=0.5,
    dtypes=("float64", "float32"),
    families=TARGETS_IN_NUMBERS,
    shows=shown.SECOND_ORDER_EVERYWHERE,
)
def second_order_everywhere(case: Case, call: Caller) -> Judgement:
    """Second derivatives in targets (and variances), mixed ones too, are right, or refused.

    Not zero either: that is what backward() leaves where a part of the graph was cut off, and
    what PyTorch's own kl_div gives.
    """
    yield from curvature_agrees(case, call, everywhere=True)


@rule(
    "must",
    cases=vary(any_call, any_reduction, scalar_upstream),
    source="torch.func.jvp of torch.func.grad (pytorch#79609)",
    needs=("gradient", "double_backward", "jvp"),
    share=0.8,
    dtypes=("float64", "float32"),
    families=CURVED,
    shows=shown.FORWARD_OVER_REVERSE,
)
def forward_over_reverse(case: Case, call: Caller) -> Judgement:
    """The gradient's forward-mode derivative is the second derivative, or refused."""
    yield from forward_over_reverse_agrees(case, call)


@rule(
    "should",
    cases=vary(any_call, any_reduction, scalar_upstream),
    source="torch.autograd: double backward",
    needs=("gradient", "double_backward"),
    share=0.8,
    dtypes=("float64", "float32"),
    families=CURVED,
    shows=shown.PENALTY,
)
def second_order_penalty(case: Case, call: Caller) -> Judgement:
    """A gradient in a penalty, beside other terms, has its second derivative, or is refused.

    One that was cut off the graph (computed in forward, say, without once_differentiable)
    counts as zero there, and nothing is said.
    """
    yield from curvature_agrees(case, call, penalty=True)


@rule(
    "must",
    cases=vary(any_call, any_reduction, upstream(offset=0.0)),
    source=SOURCE,
    needs=GRADIENT,
    share=0.3,
)
def upstream_zero(case: Case, call: Caller) -> Judgement:
    """An upstream gradient of zero gives a gradient of exactly zero."""
    seen = call(case)
    for name, grad in seen.grads.items():
        everywhere = torch.ones(seen.arguments[name].shape, dtype=torch.bool)
        yield from exact_zero(f"gradient of {name}", grad, everywhere)


def _overflowed(draft: Draft, draw: Draw) -> None:
    draft.upstream = {"offset": draw.among((math.inf, math.nan, -math.inf))}


@rule(
    "must",
    cases=vary(any_call, any_reduction, _overflowed),
    source="torch.amp.GradScaler finds an overflow by gradients that are not finite",
    needs=GRADIENT,
    share=0.3,
    shows="""
        loss = {call}
        upstream = upstream.to(loss.dtype)
        leaves, ones = [{leaves}], torch.ones_like(loss)
        usual = torch.autograd.grad(loss, leaves, ones, retain_graph=True)
        shown = torch.autograd.grad(loss, leaves, upstream)
        hidden = [((a != 0) & b.isfinite()).any().item() for a, b in zip(usual, shown)]
        assert not any(hidden), "finite gradients of an upstream gradient that is not"
    """,
)
def upstream_nonfinite(case: Case, call: Caller) -> Judgement:
    """An upstream gradient of NaN or infinity shows in the gradient; it is not hidden."""
    assert case.upstream is not None
    seen = call(case)
    usual = call(replace(case, upstream=replace(case.upstream, offset=1.0))).grads
    for name, grad in seen.grads.items():
        own = usual.get(name)
        if grad is not None and own is not None and own.shape == grad.shape:
            hidden = (own != 0) & grad.isfinite()
            message = f"the gradient of {name} is finite, the upstream gradient is not"
            yield from holds(not hidden.any(), message)
