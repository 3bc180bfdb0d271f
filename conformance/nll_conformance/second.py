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
    direction = _direction(tensors["input"])
    got = _reverse_over_reverse(case, call, tensors, direction, penalty=penalty)
    if got is not None:
        yield from _curved(case, got, direction)


def forward_over_reverse_agrees(case: Case, call: Caller) -> Judgement:
    """The same by forward mode: the tangent of the gradient along v.

    Asked only of who can be differentiated twice: torch's ``once_differentiable``, say, refuses
    a second backward but lets the tangent be lost.
    """
    tensors = call.tensors(case)
    leaf = tensors["input"]
    direction = _direction(leaf)
    if _reverse_over_reverse(case, call, tensors, direction) is None:
        return
    upstream = call.upstream(case, call.forward(case, tensors))

    def pulled(logits: torch.Tensor) -> torch.Tensor:
        value = call.invoke(case, {**tensors, "input": logits})
        assert isinstance(value, torch.Tensor)
        return (value * upstream).sum()

    primal, tangent = (leaf.detach(),), (direction.to(leaf.dtype).to(leaf.device),)
    slope = torch.func.grad(pulled)
    _, got = call.guard("jvp of grad", lambda: torch.func.jvp(slope, primal, tangent))
    yield from _curved(case, got, direction)


def _direction(leaf: torch.Tensor) -> torch.Tensor:
    """The vector v in float64; written out in the rules' reproducers, too."""
    return (torch.arange(leaf.numel()) * 5 % 7 - 3).double().view(leaf.shape) / 4


def _reverse_over_reverse(
    case: Case,
    call: Caller,
    tensors: dict[str, torch.Tensor],
    direction: torch.Tensor,
    *,
    penalty: bool = False,
) -> torch.Tensor | None:
    leaf = tensors["input"]
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return None
    grad = call.gradient(value, leaf, upstream, create_graph=True)
    along = (grad * direction.to(leaf.dtype).to(leaf.device)).sum()
    along = along + (leaf * 0.0).sum() if penalty else along
    return call.gradient(along, leaf, torch.ones_like(along))


def _curved(case: Case, got: torch.Tensor, direction: torch.Tensor) -> Judgement:
    want, magnitude = _exact(case, direction)
    bound = ALLOWED_ROUNDOFFS * UNIT_ROUNDOFF[getattr(torch, case.dtype)] * magnitude
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
