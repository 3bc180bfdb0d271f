"""Losses that read one entry of each row: ``loss_n = w[t_n] l(x_n[t_n])``.

Shared by the families that start from probabilities or their logarithms; ``l`` and its
derivative are theirs (:class:`Loss`), everything after it is here: weights, reductions, rows
that do not count, and the gradient ``s_n w[t_n] l'(x_n[t_n])`` at the target, exactly zero at
every other class, ``s`` being the upstream gradient over the denominator.  ``R`` rows, ``C``
classes, everything float64.

The admissible errors are counted roundings of *some* correct algorithm of the declared
precision, in any order of the factors (Higham, *Accuracy and Stability of Numerical
Algorithms*, section 3.1); where no correct algorithm rounds, the bound is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from . import bounds
from .bounds import EXACT, INF, OWN, U64, Arithmetic, Denominator, Format, Terms, rounded
from .errors import SuiteError
from .model import Case
from .recipes import build, class_axis
from .truth import Exact, Truth

#: Below so many times the smallest normal number a product may have lost digits.
NEAR_UNDERFLOW = 2.0**12


@dataclass(frozen=True)
class Loss:
    """The row losses before any weight, each tensor ``(R,)``.

    ``error`` is the error of ``value`` in the compute dtype, ``slope`` the derivative in the
    entry that was read, ``steps`` how many roundings ``slope`` costs as a factor of the
    gradient.  ``exact`` says that ``value`` costs none.  ``flat`` marks rows whose gradient
    cannot be judged.
    """

    value: torch.Tensor
    error: torch.Tensor
    slope: torch.Tensor
    steps: int
    flat: torch.Tensor
    exact: bool


@dataclass(frozen=True)
class Picked:
    """The call as ``R`` rows: what was read of each, and where.

    ``entry``, ``target`` and ``weight`` (``w[t_n]``, or ones) are ``(R,)`` and hold
    ``blank``, 0 and 1 in rows outside ``counted``.  ``shape`` is the input's shape with its
    class dimension, dim ``axis``, moved to the end.  ``products`` counts the roundings of a
    multiplication with the weight: none without weights, 1, or 2 where their dtype is
    another than the input's.
    """

    entry: torch.Tensor
    target: torch.Tensor
    counted: torch.Tensor
    weight: torch.Tensor
    products: int
    shape: torch.Size
    axis: int
    own: torch.dtype

    @property
    def batch(self) -> torch.Size:
        """The shape of the unreduced loss."""
        return self.shape[:-1]


def kept_rows(case: Case, arguments: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which rows count: bool, of the target's shape."""
    target, mask = arguments["target"], arguments.get("mask")
    kept = torch.ne(target.detach().cpu().long(), case.option("ignore_index", -100))
    return kept if mask is None else kept & mask.detach().cpu().reshape(kept.shape)


def read(case: Case, arguments: Mapping[str, torch.Tensor], blank: float) -> Picked:
    """The tensors of a call as rows; ``blank`` stands for entries that do not count."""
    entries = arguments["input"]
    axis = class_axis(tuple(entries.shape))
    wide = entries.detach().cpu().double().movedim(axis, -1)
    classes = wide.shape[-1]
    counted = kept_rows(case, arguments).reshape(-1)
    target = arguments["target"].detach().cpu().long().reshape(-1).where(counted, 0)
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise SuiteError("the oracle was asked about a target that is no class")
    picked = wide.reshape(-1, classes).gather(1, target.unsqueeze(1)).squeeze(1)
    weight, products = arguments.get("weight"), 0
    scale = torch.ones_like(picked)
    if weight is not None:
        products = 1 if weight.dtype == entries.dtype else 2
        scale = weight.detach().cpu().double()[target].where(counted, 1.0)
    return Picked(
        picked.where(counted, blank),
        target,
        counted,
        scale,
        products,
        wide.shape,
        axis,
        entries.dtype,
    )


def truth(
    case: Case,
    picked: Picked,
    loss: Loss,
    how: Arithmetic,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """Value and gradient of the call, reduced as ``case`` asks, each with its bound."""
    output = bounds.FORMATS[output_dtype]
    reduction = case.reduction
    below = _denominator(picked) if reduction == "mean" else None
    if reduction == "none":
        flat = _each(picked, loss, how, output)
        value = Exact(*(_shaped(t, picked) for t in (flat.value, flat.bound, flat.condition)))
    elif below is None:
        value = bounds.total(_terms(picked, loss, how), how, output)
    else:
        terms = _terms(picked, loss, how)
        value = bounds.declared_mean(terms, below, how, output, divergences)
    recipe = case.tensor("input")
    if case.upstream is None or recipe is None or not recipe.grad:
        return Truth(value)
    upstream = build(case.upstream).detach().double().reshape(-1)
    return Truth(value, {"input": _gradient(picked, loss, how, output, below, upstream)})


def _denominator(picked: Picked) -> Denominator:
    """The sum of the counted targets' weights, or their number."""
    rows, kept = picked.counted.numel(), int(picked.counted.sum())
    if not picked.products:
        return Denominator(float(kept), float(kept), False, rows, kept)
    weights = picked.weight * picked.counted
    return Denominator(float(weights.sum()), float(weights.abs().sum()), True, rows, kept)


def _terms(picked: Picked, loss: Loss, how: Arithmetic, steps: int | None = None) -> Terms:
    """The weighted row losses; ``steps`` of their roundings may be to 16 bits.

    E_n = |w| E + products u size + steps u_rows size, size = |w l|.  Infinite losses are
    exact; 0 times infinity is not judged (IEEE says NaN, "no weight, no loss" says 0).
    """
    amount = picked.weight.abs() * picked.counted
    endless = loss.value.isinf() & picked.counted
    open_question = endless & (amount == 0)
    plain = picked.counted & ~endless
    value = (picked.weight * loss.value).masked_fill(~picked.counted | open_question, 0.0)
    size = (amount * loss.value).abs().where(plain, 0.0).nan_to_num(nan=0.0)
    if steps is None:
        steps = int(not loss.exact) + picked.products
    error = amount * loss.error + (picked.products * how.compute.u + steps * how.rows.u) * size
    if picked.products:
        error = error + how.compute.tiny + how.rows.tiny
    error = error + OWN * U64 * size if picked.own == torch.float64 else error
    error = error.where(plain, 0.0).nan_to_num(nan=INF, posinf=INF)
    error = error.masked_fill(size > min(how.rows.largest, how.compute.largest), INF)
    error = error.masked_fill(open_question, INF)
    return Terms(value, error, size, size, size + amount * plain)


def _each(picked: Picked, loss: Loss, how: Arithmetic, output: Format) -> Exact:
    """Reduction ``none``, ``(R,)``: a single rounding belongs to the output alone."""
    own = bounds.FORMATS[picked.own]
    # rounded to 16 bits before a wider output: one rounding more
    narrow = int(output.u < how.rows.u)
    plain = narrow * int(not loss.exact or picked.products > 0)
    if not loss.exact:
        steps = plain + int(picked.products > 0)
        return bounds.each(_terms(picked, loss, how, steps), output)
    terms = _terms(picked, loss, EXACT_ARITHMETIC, 0)
    if not picked.products and output.u <= own.u:
        return Exact(terms.value, _flushed(terms.value, own), bounds.nonzero(terms.condition))
    extra = ((picked.products - 1) * how.compute.u + plain * how.rows.u) * terms.size
    error = extra.masked_fill(terms.error == INF, INF)
    bound = rounded(terms.value, error, output)
    # a row that does not count is not multiplied
    bound = bound.masked_fill(~picked.counted, 0.0)
    return Exact(terms.value, bound, bounds.nonzero(terms.condition))


EXACT_ARITHMETIC = Arithmetic(EXACT, EXACT, EXACT)


def _flushed(value: torch.Tensor, own: Format) -> torch.Tensor:
    """The bound of a number that is only copied: subnormal ones may become zero."""
    size = value.abs()
    return size.where((size < own.tiny) & (size > 0), 0.0)


def _gradient(
    picked: Picked,
    loss: Loss,
    how: Arithmetic,
    output: Format,
    below: Denominator | None,
    upstream: torch.Tensor,
) -> Exact:
    """The gradient in the input: s w l' at the target of each row, 0 everywhere else.

    E = |s w l'| (k u + k u_rows + rho) + underflows, k the roundings of the product: one for
    the weight, ``steps`` for the slope, and for a mean three (the count, its reciprocal,
    their product), the last of all being the output's own; rho is the relative error of the
    denominator.  A product of one rounding is correctly rounded; an unweighted copy exact.
    """
    own = bounds.FORMATS[picked.own]
    scale = upstream if below is None else upstream / (below.value or torch.nan)
    s = scale.expand(picked.counted.shape).where(picked.counted, 0.0)
    amount = picked.weight * loss.slope
    value = s * amount
    exact_upstream = output.u <= own.u
    count = picked.products + loss.steps + (3 if below else 0)
    if count == 0 and exact_upstream:
        bound = _flushed(value, own)
    else:
        earlier = max(count - 1, 0) + (0 if exact_upstream else 1)
        single = count == 1 and loss.steps == 0
        relative = (0 if single else count) * how.compute.u + earlier * how.rows.u
        relative += 0.0 if exact_upstream else output.u
        relative += below.relative_error(how) if below else 0.0
        relative += OWN * U64 * count if picked.own == torch.float64 else 0.0
        error = value.abs() * relative + _underflows(s, picked.weight, loss.slope, how)
        beyond = min(how.rows.largest, how.compute.largest)
        parts = (amount, s * loss.slope, s * picked.weight, s)
        too_large = torch.stack([t.abs() > beyond for t in parts]).any(0)
        error = error.masked_fill(too_large, INF).nan_to_num(nan=INF, posinf=INF)
        bound = rounded(value, error, own)
    lost = loss.flat
    if below is not None and (below.value == 0.0 or below.overflows(how)):
        lost = torch.ones_like(lost)
    lost = lost & picked.counted
    bound = bound.masked_fill(lost, INF).masked_fill(~picked.counted, 0.0)
    value = value.masked_fill(bound == INF, 0.0).masked_fill(~picked.counted, 0.0)
    # infinity times the zeros of a one-hot row: such rows are not judged anywhere
    elsewhere = torch.zeros_like(bound).masked_fill(lost, INF)
    zero, one = torch.zeros_like(bound), torch.ones_like(bound)
    return Exact(
        _spread(value, picked, zero),
        _spread(bound, picked, elsewhere),
        _spread(bounds.nonzero(value.abs()), picked, one),
    )


def _underflows(
    s: torch.Tensor, weight: torch.Tensor, slope: torch.Tensor, how: Arithmetic
) -> torch.Tensor:
    """What is lost where a partial product falls below the normal numbers."""
    error = torch.zeros_like(s)
    for part, rest in ((s, weight * slope), (s * weight, slope), (weight * slope, s)):
        for form in (how.compute, how.rows):
            low = part.abs() < form.tiny * NEAR_UNDERFLOW
            error = error + form.tiny * rest.abs().where(low, 0.0)
    return error


def _shaped(rows: torch.Tensor | None, picked: Picked) -> torch.Tensor:
    """``(R,)`` in the shape of the unreduced loss."""
    assert rows is not None
    return rows.reshape(picked.batch)


def _spread(rows: torch.Tensor, picked: Picked, elsewhere: torch.Tensor) -> torch.Tensor:
    """``(R,)`` at the targets of a tensor of the input's shape, ``elsewhere`` beside them."""
    full = elsewhere.unsqueeze(1).repeat(1, picked.shape[-1])
    full.scatter_(1, picked.target.unsqueeze(1), rows.unsqueeze(1))
    return full.reshape(picked.shape).movedim(-1, picked.axis)


def picked_formula(
    case: Case, tensors: Mapping[str, torch.Tensor], losses: torch.Tensor
) -> torch.Tensor:
    """The reduced loss as a differentiable expression; ``losses`` has the input's shape."""
    axis = class_axis(tuple(losses.shape))
    keep = kept_rows(case, tensors)
    index = torch.where(keep, tensors["target"].long(), 0)
    rows = losses.gather(axis, index.unsqueeze(axis)).squeeze(axis)
    weight = tensors.get("weight")
    scale = torch.ones_like(rows) if weight is None else weight[index]
    rows = torch.where(keep, scale * rows, 0.0)
    if case.reduction == "none":
        return rows
    return rows.sum() if case.reduction == "sum" else rows.sum() / (scale * keep).sum()
