"""Second derivatives, held against those of the exact formula in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch

from .discover import family_part
from .judge import UNIT_ROUNDOFF, compare, truth_of
from .model import Case, Judgement
from .observe import Caller
from .recipes import build
from .truth import Exact, Truth

Formula: TypeAlias = Callable[[Case, Mapping[str, torch.Tensor]], torch.Tensor]

#: First-order allowance in unit roundoffs of sum_k |H_jk v_k|: each Hessian entry of the plain
#: cases is a product of two probabilities, each good to K0 + K1 |d| + 3 L + ... < 100 u.
ALLOWED_ROUNDOFFS = 256
#: What |H| |v| counts as at least, for an upstream gradient of one.
FLOOR = 2.0**-4


def curvature_agrees(
    case: Case,
    call: Caller,
    *,
    everywhere: bool = False,
    penalty: bool = False,
    squared: bool = False,
    cancelling: bool = False,
) -> Judgement:
    """(Hessian of upstream . loss) v equals that of the family's formula in float64.

    The Hessian is that in the input, or ``everywhere``: in all tensors that require a gradient,
    with H v one vector of all their entries.  As a ``penalty`` the gradient stands beside a
    term of first order: a gradient that has been cut off the graph then shows as zero instead
    of raising.  ``squared`` takes the Hessian of (upstream . loss)^2 / 2.  Where its entries are
    ``cancelling`` sums themselves, each is allowed what the largest is.
    """
    tensors = call.tensors(case)
    leaves = {name: t for name, t in tensors.items() if name == "input" or everywhere}
    leaves = {name: t for name, t in leaves.items() if t.requires_grad}
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    if everywhere:  # who cannot be differentiated twice by the input refuses here
        _along(call, call.forward(case, tensors), upstream, {"input": leaves["input"]})
    first = None
    if squared:
        first = truth_of(call.observation(case, value.detach(), {}))
        value, upstream = (value * upstream).sum() ** 2 / 2, upstream.new_ones(())
    got = _along(call, value, upstream, leaves, penalty=penalty)
    yield from _curved(case, tuple(leaves), got, squared=first, cancelling=cancelling)


def forward_over_reverse_agrees(case: Case, call: Caller) -> Judgement:
    """The same by forward mode: the tangent of the gradient along v.

    Asked only of who can be differentiated twice: torch's ``once_differentiable``, say, refuses
    a second backward but lets the tangent be lost.
    """
    tensors = call.tensors(case)
    leaf = tensors["input"]
    value = call.forward(case, tensors)
    upstream = call.upstream(case, value)
    if upstream.shape != value.shape:
        return
    _along(call, value, upstream, {"input": leaf})

    def pulled(logits: torch.Tensor) -> torch.Tensor:
        value = call.invoke(case, {**tensors, "input": logits})
        assert isinstance(value, torch.Tensor)
        return (value * upstream).sum()

    primal, tangent = (leaf.detach(),), (_direction(leaf).to(leaf),)
    slope = torch.func.grad(pulled)
    _, got = call.guard("jvp of grad", lambda: torch.func.jvp(slope, primal, tangent))
    yield from _curved(case, ("input",), got)


def _direction(leaf: torch.Tensor) -> torch.Tensor:
    """The vector v in float64; written out in the rules' reproducers, too."""
    return (torch.arange(leaf.numel()) * 5 % 7 - 3).double().view(leaf.shape) / 4


def _along(
    call: Caller,
    value: torch.Tensor,
    upstream: torch.Tensor,
    leaves: Mapping[str, torch.Tensor],
    *,
    penalty: bool = False,
) -> torch.Tensor:
    """H v: in the shape of the tensor, or of several flattened to one vector."""
    grads = call.gradients(value, tuple(leaves.values()), upstream, create_graph=True)
    pairs = zip(grads, leaves.values(), strict=True)
    along = torch.stack([(grad * _direction(leaf).to(leaf)).sum() for grad, leaf in pairs]).sum()
    if penalty:
        along = along + (leaves["input"] * 0.0).sum()
    if len(leaves) == 1:
        (leaf,) = leaves.values()
        return call.gradient(along, leaf, torch.ones_like(along))
    # As backward() does: who has no part in the gradient's graph gets nothing, and no error.
    parts = call.gradients(
        along, tuple(leaves.values()), torch.ones_like(along), materialize_grads=True
    )
    return torch.cat([part.flatten() for part in parts])


def _curved(
    case: Case,
    names: Sequence[str],
    got: torch.Tensor,
    *,
    squared: Truth | None = None,
    cancelling: bool = False,
) -> Judgement:
    want, magnitude = _exact(case, names, squared=squared)
    if cancelling:
        magnitude = magnitude + magnitude.max()
    if not bool(magnitude.isfinite().all()):
        return  # nothing counts: 0/0 has no derivative
    if len(names) == 1:
        want, magnitude = want.view(got.shape), magnitude.view(got.shape)
    # The derivative of a probability near one is a difference, p - p^2, which the Hessian hides.
    assert case.upstream is not None
    scale = float(build(case.upstream).abs().max()) * FLOOR
    bound = ALLOWED_ROUNDOFFS * UNIT_ROUNDOFF[getattr(torch, case.dtype)] * (magnitude + scale)
    yield from compare("second derivative", got, Exact(want, bound), case.dtype)


def _exact(
    case: Case, names: Sequence[str], *, squared: Truth | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """H v and |H| |v| of the formula, v rounded to the case's dtype, as vectors.

    ``squared`` is the truth of the loss and its gradient, which are factors of the square's
    second derivative: both may be differences, good to their own bounds alone.
    """
    formula: Formula = family_part(case.family, "oracle").formula
    tensors = {
        name: t.detach().cpu().double() if t.dtype.is_floating_point else t.cpu()
        for name, t in case.build().items()
    }
    assert case.upstream is not None
    upstream = build(case.upstream).double()
    sizes = [tensors[name].numel() for name in names]

    def losses(flat: torch.Tensor) -> torch.Tensor:
        parts = zip(names, torch.split(flat, sizes), strict=True)
        return formula(case, {**tensors, **{n: p.view(tensors[n].shape) for n, p in parts}})

    def scalar(flat: torch.Tensor) -> torch.Tensor:
        return (losses(flat) * upstream).sum()

    flat = torch.cat([tensors[name].reshape(-1) for name in names])
    # torch declares no types for hessian and jacobian
    hessian: torch.Tensor = torch.autograd.functional.hessian(scalar, flat)  # type: ignore[no-untyped-call]
    dtype = getattr(torch, case.dtype)
    v = torch.cat([_direction(tensors[name]).to(dtype).double().reshape(-1) for name in names])
    exact, magnitude = hessian @ v, hessian.abs() @ v.abs()
    if squared:  # (s^2 / 2)'' = s H + g g^T
        slope = torch.autograd.functional.jacobian(scalar, flat)  # type: ignore[no-untyped-call]
        allowed = ALLOWED_ROUNDOFFS * UNIT_ROUNDOFF[dtype]
        size = ((losses(flat).abs() + squared.value.bound / allowed) * upstream.abs()).sum()
        off = torch.cat([squared.grads[name].bound.reshape(-1) for name in names]) / allowed
        steep = slope.abs() + off
        exact = scalar(flat) * exact + slope * (slope @ v)
        magnitude = size * magnitude + steep * (steep @ v.abs())
    return exact, magnitude
