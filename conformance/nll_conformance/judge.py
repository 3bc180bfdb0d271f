"""The one place where numbers are compared: ``not (error <= bound)``.

Every function is a generator: it yields a ``Measured`` for each comparison that it made and
a ``Finding`` for each discrepancy, so that rules read as sentences.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from . import shared
from .discover import family_part
from .errors import SuiteError
from .model import PRECISIONS, Finding, Judgement, Measured, Observation, Precision
from .truth import Exact, Truth

UNIT_ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}


def truth_of(seen: Observation, precision: Precision | None = None) -> Truth:
    """The oracle's word on what was observed."""
    case, precision, dtype = seen.case, precision or seen.precision, seen.value.dtype

    def find() -> Truth:
        truth = family_part(case.family, "oracle").truth(
            case,
            case.build(),
            precision=precision,
            output_dtype=dtype,
            divergences=seen.divergences,
        )
        assert isinstance(truth, Truth)
        return truth

    return shared.exact(case, (precision, dtype, tuple(sorted(seen.divergences.items()))), find)


def agrees(seen: Observation) -> Judgement:
    """The loss and every gradient that was asked for are the exact ones, within the bound."""
    truth = truth_of(seen)
    yield from _value(seen, truth)
    yield from _gradients(seen, truth)


def value_agrees(seen: Observation) -> Judgement:
    """The loss is the exact one, within the bound."""
    yield from _value(seen, truth_of(seen))


def gradients_agree(seen: Observation) -> Judgement:
    """Every gradient that was asked for is the exact one, within the bound."""
    yield from _gradients(seen, truth_of(seen))


def _value(seen: Observation, truth: Truth) -> Judgement:
    for item in compare("loss", seen.value, truth.value, seen.case.dtype):
        yield _explain(item, seen, "loss")


def _gradients(seen: Observation, truth: Truth) -> Judgement:
    for name, exact in truth.grads.items():
        got = seen.grads.get(name)
        if got is None:
            yield Measured(discriminating=True)
            yield Finding(
                f"no gradient arrived at {name!r}, which requires one",
                got="None",
                want="a gradient",
                kind="no gradient",
                of=name,
            )
            continue
        what = f"gradient of {name}"
        for item in compare(what, got, exact, seen.case.dtype):
            yield _explain(item, seen, name)


def _explain(item: Finding | Measured, seen: Observation, what: str) -> Finding | Measured:
    """Say whose entry it is, and where the next weaker precision would have allowed it."""
    if isinstance(item, Measured):
        return item
    item = replace(item, of=what, case=seen.case)
    if item.kind != "value":
        return item
    if seen.case.dtype not in ("float16", "bfloat16"):
        return item
    for weaker in PRECISIONS[PRECISIONS.index(seen.precision) + 1 :]:
        truth = truth_of(seen, weaker)
        got = seen.value if what == "loss" else seen.grads[what]
        exact = truth.value if what == "loss" else truth.grads[what]
        assert got is not None
        if not any(isinstance(i, Finding) for i in compare("", got, exact, seen.case.dtype)):
            allowed = f"allowed under precision={weaker!r}, judged as {seen.precision!r}"
            return replace(item, message=f"{item.message}; {allowed}", kind="precision")
    return item


def compare(what: str, got: torch.Tensor, exact: Exact, dtype: str) -> Judgement:
    """Hold one tensor against its exact value, entry by entry.

    Non-finite exact values must be met exactly; where the bound is infinite the entry is
    not judged.  ``dtype`` is the input's and sets the unit of ``error_units``.
    """
    if torch.isnan(exact.bound).any():
        raise SuiteError(f"the bound of the {what} is NaN")
    if got.shape != exact.value.shape:
        yield Measured()
        yield Finding(
            f"the {what} has shape {tuple(got.shape)}, expected {tuple(exact.value.shape)}",
            got=str(tuple(got.shape)),
            want=str(tuple(exact.value.shape)),
            kind="shape",
            of=what.removeprefix("gradient of "),
        )
        return
    full = got if got.layout is torch.strided else got.to_dense()
    seen = full.detach().to("cpu", torch.float64)
    want, bound = exact.value, exact.bound
    judged = ~torch.isinf(bound)
    error = (seen - want).abs()
    met = (error <= bound) | (seen == want) | (seen.isnan() & want.isnan())
    yield _measured(error, exact, judged, dtype)
    bad = judged & ~met
    if bad.any():
        yield _finding(what, seen, exact, error, bad)


def _measured(error: torch.Tensor, exact: Exact, judged: torch.Tensor, dtype: str) -> Measured:
    if not judged.any():
        return Measured(judged=False, discriminating=False)
    want, bound = exact.value, exact.bound
    telling = judged & ~(want.abs() <= bound)
    plain = judged & want.isfinite() & error.isfinite() & (bound > 0)
    ratio, units = _largest(error / bound, plain), None
    if exact.condition is not None:
        rated_as = getattr(torch, dtype)
        # What the format itself cannot resolve is no inaccuracy of the loss.
        least = torch.finfo(rated_as).smallest_normal * torch.finfo(rated_as).eps
        scale = UNIT_ROUNDOFF[rated_as] * exact.condition + least
        units = _largest(error / scale, plain & (exact.condition > 0))
    return Measured(True, bool(telling.any()), ratio, units)


def _largest(ratios: torch.Tensor, counted: torch.Tensor) -> float | None:
    """The largest of some ratios, which are not negative; None if none is counted."""
    largest = float(ratios.where(counted, -1.0).max())
    return largest if largest >= 0 else None


def _finding(
    what: str, seen: torch.Tensor, exact: Exact, error: torch.Tensor, bad: torch.Tensor
) -> Finding:
    """The worst entry, told in numbers."""
    badness = torch.where(bad, error / exact.bound.clamp_min(1e-300), -1.0)
    badness = torch.where(bad & ~badness.isfinite(), math.inf, badness)
    flat = int(badness.flatten().argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), bad.shape))
    got, want = float(seen.flatten()[flat]), float(exact.value.flatten()[flat])
    limit = float(exact.bound.flatten()[flat])
    where = f"[{', '.join(map(str, index))}]" if index else ""
    times = float(badness.flatten()[flat])
    if math.isfinite(times) and limit > 0:
        far = f"off by {abs(got - want):.3g}, {times:.3g} times the bound {limit:.3g}"
    else:
        far = f"off by {abs(got - want):.3g}" if math.isfinite(got - want) else "not close"
    wrong = int(bad.sum())
    others = f" ({wrong} of {bad.numel()} entries are wrong)" if bad.numel() > 1 else ""
    return Finding(
        f"{what}{where} is {got:.9g}, expected {want:.9g}: {far}{others}",
        got=repr(got),
        want=repr(want),
        bound=repr(limit),
        index=index,
        kind="value",
        of=what.removeprefix("gradient of "),
    )


def exact_zero(what: str, got: torch.Tensor | None, where: torch.Tensor) -> Judgement:
    """Every entry of ``got`` at ``where`` (a mask of its shape) is exactly zero."""
    if got is None:
        yield Finding(f"there is no {what}", got="None", want="0.0", kind="no gradient")
        return
    zero = Exact(torch.zeros(got.shape, dtype=torch.float64), torch.zeros(got.shape).double())
    bound = torch.where(where, zero.bound, math.inf)
    for item in compare(what, got, Exact(zero.value, bound), "float64"):
        # Zeros are what is asked for here, so they cannot discriminate.
        yield Measured(judged=item.judged) if isinstance(item, Measured) else item


def identical(what: str, got: torch.Tensor | None, want: torch.Tensor | None) -> Judgement:
    """Two results of the implementation are the same, bit for bit (NaN equals NaN)."""
    yield Measured()
    if got is None or want is None:
        if got is not want:
            yield Finding(f"{what}: one is missing", got=str(got), want=str(want))
        return
    if got.shape == want.shape and got.dtype == want.dtype:
        a, b = got.detach().flatten(), want.detach().flatten()
        differs = ~((a == b) | (a.isnan() & b.isnan()))
        if not differs.any():
            return
        flat = int(differs.nonzero()[0])
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), got.shape))
        yield Finding(
            f"{what} differs at {list(index)}: {float(a[flat])!r} against {float(b[flat])!r}",
            got=repr(float(a[flat])),
            want=repr(float(b[flat])),
            bound="0.0",
            index=index,
            kind="differs",
        )
        return
    yield Finding(
        f"{what}: {got.dtype} {tuple(got.shape)} against {want.dtype} {tuple(want.shape)}",
        kind="shape",
    )


def holds(condition: bool, message: str, *, kind: str = "contract", want: str = "") -> Judgement:
    """A plain fact is as it should be; ``message`` says what is wrong otherwise."""
    yield Measured()
    if not condition:
        yield Finding(message, kind=kind, want=want)
