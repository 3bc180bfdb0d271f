"""Exact value, gradient and admissible error of ``torch.nn.functional.cross_entropy``.

``loss_n = -sum_j w_j q_nj log softmax(x_n)_j``, ``q`` one-hot or given, smoothed to
``(1 - eps) q + eps / C``.  ``mean`` divides by the weight of the counted targets (class
indices) or by the number of counted rows (class probabilities).  Rows that are ignored or
masked contribute exactly nothing, not even to the denominator.  Terms with q = 0 count as
0, also at logits of -inf.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ... import bounds
from ...bounds import Arithmetic, Denominator, Format, Terms
from ...errors import SuiteError
from ...model import Case, Precision
from ...recipes import TensorRecipe, build, class_axis
from ...softmax import statistics
from ...softmax_loss import (
    Blend,
    Softened,
    logit_gradient,
    row_terms,
    settle,
    share_gradient,
    soften,
)
from ...truth import Exact, Truth


@dataclass(frozen=True)
class Call:
    """The call as ``R`` rows of ``C`` classes, float64.

    ``counted`` ``(R,)`` are the rows that count; ``target`` ``(R,)`` their class, or 0, and
    ``None`` where class probabilities are given; ``share`` ``(R, C)`` is the smoothed
    target.  ``shape`` is the input's shape with its class dimension last, ``batch`` the
    same without it.
    """

    logits: torch.Tensor
    counted: torch.Tensor
    target: torch.Tensor | None
    share: torch.Tensor
    weight: torch.Tensor | None
    smoothing: float
    shape: torch.Size
    axis: int

    @property
    def batch(self) -> torch.Size:
        """The shape of the losses of the rows."""
        return self.shape[:-1]


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``arguments`` are the tensors of the call, already rounded to their dtypes.
    ``output_dtype`` is the dtype of the loss; gradients have their tensor's.  The keys
    ``all_ignored_mean`` and ``empty_mean`` of ``divergences`` choose "nan" or "zero".
    """
    how = bounds.arithmetic(arguments["input"].dtype, precision)
    return enclose(case, arguments, how, bounds.FORMATS[output_dtype], divergences)


def enclose(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    how: Arithmetic,
    output: Format,
    divergences: Mapping[str, str],
    formats: Mapping[torch.dtype, Format] = bounds.FORMATS,
) -> Truth:
    """:func:`truth` for any set of roundings; ``formats`` are those of the gradients."""
    call = read(case, arguments)
    rows = statistics(call.logits, call.counted)
    soft = soften(rows, blend(call), how)
    terms = settle(row_terms(soft), call.counted, rows.defined)
    below = denominator(call) if case.reduction == "mean" else None
    if case.reduction == "none":
        flat = bounds.each(terms, output)
        value = _reshape(flat, lambda t: t.reshape(call.batch))
    else:
        value = reduced(terms, below, how, output, divergences)
    return Truth(value, _gradients(case, arguments, call, soft, below, formats))


def reduced(
    terms: Terms,
    below: Denominator | None,
    how: Arithmetic,
    output: Format,
    divergences: Mapping[str, str],
) -> Exact:
    """The sum of the row losses or, with a denominator, their mean; shape ``()``."""
    if below is None:
        return bounds.total(terms, how, output)
    return bounds.declared_mean(terms, below, how, output, divergences)


def kept_rows(case: Case, arguments: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which rows count: bool, of the target's shape (without its class dimension)."""
    target, mask = arguments["target"], arguments.get("mask")
    if target.dtype.is_floating_point:
        axis = class_axis(tuple(target.shape))
        shape = target.shape[:axis] + target.shape[axis + 1 :]
        kept = torch.ones(shape, dtype=torch.bool)
    else:
        kept = target.detach().cpu().long() != case.option("ignore_index", -100)
    return kept if mask is None else kept & mask.detach().cpu().reshape(kept.shape)


def read(case: Case, arguments: Mapping[str, torch.Tensor]) -> Call:
    """The tensors and options of a call as rows."""
    logits, target = arguments["input"], arguments["target"]
    axis = class_axis(tuple(logits.shape))
    wide = _wide(logits, axis)
    classes = wide.shape[-1]
    counted = kept_rows(case, arguments).reshape(-1)
    smoothing = float(case.option("label_smoothing", 0.0))
    indices: torch.Tensor | None = None
    if target.dtype.is_floating_point:
        share = _wide(target, axis).reshape(-1, classes)
    else:
        indices = target.detach().cpu().long().reshape(-1).where(counted, 0)
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < classes:
            raise SuiteError("the oracle was asked about a target that is no class")
        share = torch.zeros(len(indices), classes, dtype=torch.float64)
        share.scatter_(1, indices.unsqueeze(1), 1.0)
    if smoothing:
        share = share * (1.0 - smoothing) + smoothing / classes
    weight = arguments.get("weight")
    return Call(
        wide.reshape(-1, classes), counted, indices, share,
        None if weight is None else weight.detach().cpu().double(),
        smoothing, wide.shape, axis,
    )  # fmt: skip


def blend(call: Call) -> Blend:
    """The coefficients of each class in each row, and what part of them is a sum."""
    coefficient = call.share if call.weight is None else call.share * call.weight
    if not bool(call.counted.all()):
        coefficient = coefficient * call.counted.unsqueeze(1)
    spread: torch.Tensor | None = None
    if call.target is None:
        spread = coefficient
    elif call.smoothing:
        one = torch.ones(1, call.logits.shape[1], dtype=torch.float64)
        even = one if call.weight is None else call.weight.unsqueeze(0)
        spread = even * (call.smoothing / call.logits.shape[1])
    return Blend(call.share, call.weight, coefficient, spread, call.target is None)


def denominator(call: Call) -> Denominator:
    """Sum of the counted targets' weights; for class probabilities the counted rows."""
    rows, kept = call.counted.numel(), int(call.counted.sum())
    if call.weight is None or call.target is None:
        return Denominator(float(kept), float(kept), False, rows, kept)
    weights = call.weight[call.target] * call.counted
    return Denominator(float(weights.sum()), float(weights.abs().sum()), True, rows, kept)


def _gradients(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    call: Call,
    soft: Softened,
    below: Denominator | None,
    formats: Mapping[torch.dtype, Format],
) -> dict[str, Exact]:
    """The gradient of each differentiable tensor, in the tensor's shape."""
    if case.upstream is None:
        return {}
    scale, upstream = scales(build(case.upstream), call, below)
    grads: dict[str, Exact] = {}
    if _wants(case.tensor("input")):
        form = formats[arguments["input"].dtype]
        exact = logit_gradient(soft, scale, call.counted, below, upstream, form)
        grads["input"] = _reshape(exact, lambda t: _narrow(t, call))
    if call.target is None and _wants(case.tensor("target")):
        form = formats[arguments["target"].dtype]
        exact = share_gradient(soft, scale, call.counted, call.smoothing, upstream, form)
        grads["target"] = _reshape(exact, lambda t: _narrow(t, call))
    return grads


def scales(
    upstream: torch.Tensor, call: Call, below: Denominator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What multiplies each row's gradient, and its numerator; both ``(R,)``."""
    upstream = upstream.detach().double()
    # one number for all rows, or one for each
    upstream = upstream.reshape(-1) if upstream.dim() else upstream.reshape(())
    scale = upstream if below is None else upstream / (below.value or torch.nan)
    scale = scale.expand(call.counted.shape).where(call.counted, 0.0)
    return scale, upstream.expand(call.counted.shape)


def _wants(recipe: TensorRecipe | None) -> bool:
    return recipe is not None and recipe.grad


def _wide(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """The exact numbers, class dimension last."""
    return tensor.detach().cpu().double().movedim(axis, -1)


def _narrow(rows: torch.Tensor, call: Call) -> torch.Tensor:
    """``(R, C)`` back to the input's shape."""
    return rows.reshape(call.shape).movedim(-1, call.axis)


def _reshape(exact: Exact, shaped: Callable[[torch.Tensor], torch.Tensor]) -> Exact:
    condition = None if exact.condition is None else shaped(exact.condition)
    return Exact(shaped(exact.value), shaped(exact.bound), condition)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression, for second derivatives.

    ``tensors`` are float64 (targets as they are); no masking of non-finite rows.
    """
    x, target, weight = tensors["input"], tensors["target"], tensors.get("weight")
    axis = 1 if x.dim() > 1 else 0
    logp = x - x.logsumexp(axis, keepdim=True)
    keep = kept_rows(case, tensors)
    if weight is None:
        weight = x.new_ones(x.shape[axis])
    view = [1] * x.dim()
    view[axis] = -1
    weight = weight.view(view)
    if target.is_floating_point():
        q, total = target, keep.sum()
    else:
        index = torch.where(keep, target.long(), 0).unsqueeze(axis)
        q = torch.zeros_like(x).scatter(axis, index, 1.0)
        total = torch.where(keep, (q * weight).sum(axis), 0.0).sum()
    smoothing = case.option("label_smoothing", 0.0)
    q = (1 - smoothing) * q + smoothing / x.shape[axis]
    rows = torch.where(keep, -(q * weight * logp).sum(axis), 0.0)
    if case.reduction == "none":
        return rows
    return rows.sum() if case.reduction == "sum" else rows.sum() / total
