"""Second derivatives, held against those of the exact formula in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from .discover import family_part
from .judge import UNIT_ROUNDOFF, compare
from .model import Case, Judgement
from .observe import Caller
from .recipes import build
from .truth import Exact

Formula: TypeAlias = Callable[[Case, Mapping[str, torch.Tensor]], torch.Tensor]

#: First-order allowance in unit roundoffs of sum_k |H_jk v_k|: each Hessian entry of the plain
#: cases is a product of two probabilities, each good to K0 + K1 |d| + 3 L + ... < 100 u.
ALLOWED_ROUNDOFFS = 256


def curvature_agrees(case: Case, call: Caller, *, penalty: bool = False) -> Judgement:
    """(Hessian of upstream . loss) v equals that of the family's formula in float64.

    As a ``penalty`` the gradient stands beside a term of first order: a gradient that has
    been cut off the graph then shows as zero instead of raising.
    """
    tensors = call.tensors(case)
    leaf = tensors["input"]
    # Written out in the rule's reproducer, too.
    direction = (torch.arange(leaf.numel()) * 5 % 7 - 3).double().view(leaf.shape) / 4
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    grad = call.gradient(value, leaf, upstream, create_graph=True)
    along = (grad * direction.to(leaf.dtype).to(leaf.device)).sum()
    along = along + (leaf * 0.0).sum() if penalty else along
    got = call.gradient(along, leaf, torch.ones_like(along))
    yield from _curved(case, got, direction)


def forward_over_reverse_agrees(case: Case, call: Caller) -> Judgement:
    """The same by forward mode: the tangent of the gradient along v."""
    tensors = call.tensors(case)
    leaf = tensors["input"].detach()
    steps = (torch.arange(leaf.numel()) * 5 % 7 - 3).double().view(leaf.shape) / 4
    upstream = call.upstream(case, call.forward(case, tensors))

    def pulled(logits: torch.Tensor) -> torch.Tensor:
        value = call.invoke(case, {**tensors, "input": logits})
        assert isinstance(value, torch.Tensor)
        return (value * upstream).sum()

    slope = torch.func.grad(pulled)
    direction = steps.to(leaf.dtype).to(leaf.device)
    _, got = call.guard("jvp of grad", lambda: torch.func.jvp(slope, (leaf,), (direction,)))
    yield from _curved(case, got, steps)


def _curved(case: Case, got: torch.Tensor, direction: torch.Tensor) -> Judgement:
    want, magnitude = _exact(case, direction)
    bound = ALLOWED_ROUNDOFFS * UNIT_ROUNDOFF[got.dtype] * magnitude
    yield from compare("second derivative", got, Exact(want, bound), case.dtype)


def _exact(case: Case, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """H v and |H| |v| of the formula, v rounded to the case's dtype."""
    formula: Formula = family_part(case.family, "oracle").formula
    tensors = {
        name: t.detach().cpu().double() if t.dtype.is_floating_point else t.cpu()
        for name, t in case.build().items()
    }
    assert case.upstream is not None
    upstream = build(case.upstream).double()
    shape = tensors["input"].shape

    def scalar(flat: torch.Tensor) -> torch.Tensor:
        return (formula(case, {**tensors, "input": flat.view(shape)}) * upstream).sum()

    flat = tensors["input"].reshape(-1)
    hessian: torch.Tensor = torch.autograd.functional.hessian(scalar, flat)  # type: ignore[no-untyped-call]
    v = direction.to(getattr(torch, case.dtype)).double().reshape(-1)
    exact = hessian @ v
    return exact.view(shape), (hessian.abs() @ v.abs()).view(shape)
