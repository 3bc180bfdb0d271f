"""Gradients of losses that judge each element by itself: whatever flows back, to any tensor."""

from __future__ import annotations

import torch

from ..cases import (
    any_reduction,
    expanded_upstream,
    mixed_upstream,
    option,
    strided_upstream,
    vary,
)
from ..contract import rule
from ..elementwise import odd_rows, only_grad, several_dimensions, sized, with_target_grad
from ..errors import TargetRaised
from ..judge import agrees, gradients_agree
from ..model import Case, Judgement, Measured
from ..observe import Caller
from ._families import ELEMENTWISE

LAYOUT = "strides and offset are part of a tensor"
GRADIENT = ("gradient",)
ROWS = ("gradient", "reduction_none")


@rule(
    "must",
    cases=vary(odd_rows, option("reduction", "none"), mixed_upstream),
    source="Liger-Kernel#678: only the first row's upstream gradient was used",
    needs=ROWS,
    families=ELEMENTWISE,
)
def upstream(case: Case, call: Caller) -> Judgement:
    """Under "none" each element is scaled by its own upstream gradient."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(several_dimensions, option("reduction", "none"), expanded_upstream),
    source="torch.autograd: loss.sum().backward() sends one number with stride 0",
    needs=ROWS,
    share=0.6,
    families=ELEMENTWISE,
)
def upstream_expanded(case: Case, call: Caller) -> Judgement:
    """An upstream gradient of stride 0 counts for each element."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(several_dimensions, option("reduction", "none"), strided_upstream),
    source=LAYOUT,
    needs=ROWS,
    share=0.6,
    families=ELEMENTWISE,
)
def upstream_strided(case: Case, call: Caller) -> Judgement:
    """An upstream gradient that is not contiguous is read by its strides."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(only_grad("input", "var"), any_reduction, mixed_upstream),
    source="torch.autograd: each tensor may require a gradient by itself",
    needs=GRADIENT,
    share=0.6,
    families=ELEMENTWISE,
)
def one_tensor(case: Case, call: Caller) -> Judgement:
    """Where only one tensor requires a gradient, that one gets its own."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(with_target_grad, any_reduction, mixed_upstream),
    source="torch.autograd: the target is an argument of the formula like any other",
    needs=("gradient", "target_gradient"),
    families=ELEMENTWISE,
)
def target(case: Case, call: Caller) -> Judgement:
    """A target that requires a gradient gets the derivative by the target."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(sized((3, 4), (5,)), any_reduction),
    source="torch.autograd: saved tensors are version checked",
    needs=GRADIENT,
    share=0.5,
    families=ELEMENTWISE,
    shows="""
        loss = {call}
        with torch.no_grad():
            [{names}][{judged} + 1].mul_(0.5).add_(0.25)
        try:
            loss.backward(upstream)
        except Exception:
            raise SystemExit(0)  # refused, which is right
    """,
)
def changed_before_backward(case: Case, call: Caller) -> Judgement:
    """A tensor changed in place between forward and backward gives the old gradient or an error."""
    for name in [name for name, _ in case.recipe if name != "input"]:
        tensors = call.tensors(case)
        value = call.forward(case, tensors)
        with torch.no_grad():
            tensors[name].mul_(0.5).add_(0.25)
        yield Measured()
        try:
            call.backward(value, call.upstream(case, value))
        except TargetRaised:
            continue
        yield from gradients_agree(call.observation(case, value, call.grads(tensors), tensors))
