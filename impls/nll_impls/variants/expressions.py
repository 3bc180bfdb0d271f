"""The same sum written down in other tensor expressions."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from ._checked import check
from ._declare import COMPOSED, variant


def _halved(input: Tensor) -> torch.dtype:
    return torch.promote_types(input.dtype, torch.float32)


def _reduced(rows: Tensor, counted: Tensor, reduction: str, dtype: torch.dtype) -> Tensor:
    if reduction == "none":
        return rows.to(dtype)
    if reduction == "sum":
        return rows.sum().to(dtype)
    return (rows.sum() / counted.sum()).to(dtype)


def kl_divergence(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """KL divergence from the target distribution plus that distribution's entropy."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    x = input.to(dtype).movedim(dim, -1)
    classes = x.shape[-1]
    if target.is_floating_point():
        q = target.to(dtype).movedim(dim, -1)
        counted = torch.ones_like(q[..., 0])
        kept = counted.bool()
    else:
        kept = target != ignore_index
        index = target.long().where(kept, 0)
        q = F.one_hot(index, classes).to(dtype)
        counted = kept.to(dtype) if weight is None else weight.to(dtype)[index] * kept
    x = x.where(kept.unsqueeze(-1), 0.0)
    q = (1.0 - label_smoothing) * q + label_smoothing / classes
    log_p = x.log_softmax(-1)
    log_p = log_p.masked_fill((q == 0) & torch.isneginf(log_p), 0.0)
    fixed = q.detach()
    terms = F.kl_div(log_p, fixed, reduction="none") + torch.special.entr(fixed)
    # the two logarithms of q cancel, in the derivative too
    if q.requires_grad:
        terms = terms + (fixed - q) * log_p.detach()
    if weight is not None:
        terms = terms * weight.to(dtype)
    rows = terms.sum(-1).where(kept, 0.0)
    return _reduced(rows, counted, reduction, input.dtype)


def einsum(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """A contraction of classes, and of rows too where they are reduced."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    with torch.autocast(input.device.type, enabled=False):
        x = input.to(dtype).movedim(dim, -1)
        shape, classes = x.shape[:-1], x.shape[-1]
        x = x.reshape(-1, classes)
        w = x.new_ones(classes) if weight is None else weight.to(dtype)
        if target.is_floating_point():
            q = target.to(dtype).movedim(dim, -1).reshape(-1, classes)
            kept, counted = q.new_ones(len(q)), q.new_ones(len(q))
        else:
            flat = target.reshape(-1).long()
            kept = (flat != ignore_index).to(dtype)
            q = x.new_zeros(x.shape)
            q = q.scatter(1, flat.where(kept > 0, 0).unsqueeze(1), 1.0)
            counted = torch.einsum("rc,c,r->r", q, w, kept)
        x = x.where(kept.unsqueeze(1) > 0, 0.0)
        q = (1.0 - label_smoothing) * q + label_smoothing / classes
        share = torch.einsum("rc,c,r->rc", q, w, kept)
        nll = x.logsumexp(1, keepdim=True) - x
        nll = nll.masked_fill(torch.isposinf(nll) & (share == 0), 0.0)
        if reduction == "none":
            return torch.einsum("rc,rc->r", share, nll).reshape(shape).to(input.dtype)
        total = torch.einsum("rc,rc->", share, nll)
        return (total if reduction == "sum" else total / counted.sum()).to(input.dtype)


def flattened_gather(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """One flat vector of logits, of which ``take`` picks row * C + target."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    if target.is_floating_point():
        raise TypeError("class indices only")
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    x = input.to(dtype).movedim(dim, -1)
    classes = x.shape[-1]
    flat = target.reshape(-1)
    chosen = torch.nonzero(flat != ignore_index).squeeze(1)
    index = flat[chosen].long()
    x = x.reshape(-1, classes)[chosen]
    place = torch.arange(len(index), device=x.device) * classes + index
    log_sum = x.logsumexp(1)
    w = x.new_ones(classes) if weight is None else weight.to(dtype)
    rows = (log_sum - torch.take(x, place)) * w.take(index)
    if label_smoothing:
        everywhere = ((log_sum.unsqueeze(1) - x) * w).sum(1) / classes
        rows = (1.0 - label_smoothing) * rows + label_smoothing * everywhere
    if reduction == "none":
        rows = x.new_zeros(flat.numel()).index_put((chosen,), rows).reshape(target.shape)
    return _reduced(rows, w.take(index), reduction, input.dtype)


def comparison_mask(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """No indexing at all: class numbers are compared with the target."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    if target.is_floating_point():
        raise TypeError("class indices only")
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    numbers = torch.arange(input.shape[dim], device=input.device)
    numbers = numbers.reshape([-1] + [1] * (input.dim() - 1 - dim))
    kept = (target != ignore_index).unsqueeze(dim)
    hit = (numbers == target.unsqueeze(dim)) & kept
    x = input.to(dtype).where(kept, 0.0)
    nll = x.logsumexp(dim, keepdim=True) - x
    w = torch.ones_like(numbers, dtype=dtype)
    if weight is not None:
        w = weight.to(dtype).reshape(numbers.shape)
    rows = (nll * w).where(hit & (w != 0), 0.0).sum(dim) * (1.0 - label_smoothing)
    if label_smoothing:
        even = (nll * w).where(kept & (w != 0), 0.0).sum(dim)
        rows = rows + even * (label_smoothing / input.shape[dim])
    counted = w.expand_as(x).where(hit, 0.0).sum(dim)
    return _reduced(rows, counted, reduction, input.dtype)


#: In labels of one byte, its comparison takes class 255 for what is ignored.
minus_one_ignored = functools.partial(comparison_mask, ignore_index=-1)


def scattered(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Coefficients scattered into zeros; rows added up by ``index_add``."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    x = input.to(dtype).movedim(dim, -1)
    shape, classes = x.shape[:-1], x.shape[-1]
    x = x.reshape(-1, classes)
    w = x.new_ones(classes) if weight is None else weight.to(dtype)
    everything = torch.arange(len(x), device=x.device)
    if target.is_floating_point():
        q = target.to(dtype).movedim(dim, -1).reshape(-1, classes)
        counted, kept = x.new_ones(len(x)), x.new_ones(len(x), dtype=torch.bool)
        coefficient = ((1.0 - label_smoothing) * q + label_smoothing / classes) * w
    else:
        flat = target.reshape(-1).long()
        kept = flat != ignore_index
        index = flat.where(kept, 0)
        counted = w[index].where(kept, 0.0)
        even = (w * (label_smoothing / classes)).expand_as(x)
        hot = (w[index] * (1.0 - label_smoothing)).unsqueeze(1)
        coefficient = even.scatter_add(1, index.unsqueeze(1), hot)
        coefficient = coefficient.where(kept.unsqueeze(1), 0.0)
    log_p = x.where(kept.unsqueeze(1), 0.0).log_softmax(1)
    log_p = log_p.where((coefficient != 0) | torch.isfinite(log_p), 0.0)
    bins = everything if reduction == "none" else torch.zeros_like(everything)
    size = len(x) if reduction == "none" else 1
    addends = -(coefficient * log_p)
    sums = x.new_zeros(size, classes).index_add(0, bins, addends).sum(1)
    if reduction == "none":
        return sums.reshape(shape).to(input.dtype)
    return (sums[0] if reduction == "sum" else sums[0] / counted.sum()).to(input.dtype)


def two_classes_as_one(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The logarithm of the sigmoid of x_1 - x_0 where there are two classes."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    infinite = bool(torch.isinf(input.detach()).any())
    if input.shape[dim] != 2 or target.is_floating_point() or infinite:
        return kl_divergence(input, target, weight, ignore_index, reduction, label_smoothing)
    kept = target != ignore_index
    index = target.long().where(kept, 0)
    zero, one = input.to(dtype).where(kept.unsqueeze(dim), 0.0).unbind(dim)
    w = zero.new_ones(2) if weight is None else weight.to(dtype)
    y = (index == 1).to(dtype)
    y = (1.0 - label_smoothing) * y + label_smoothing / 2
    first, second = -F.logsigmoid(one - zero), -F.logsigmoid(zero - one)
    rows = (w[1] * y * first + w[0] * (1.0 - y) * second).where(kept, 0.0)
    return _reduced(rows, w[index].where(kept, 0.0), reduction, input.dtype)


def categorical(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability under ``torch.distributions.Categorical``."""
    check(input, target, weight, ignore_index, reduction)
    if target.is_floating_point():
        raise TypeError("class indices only")
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    kept = target != ignore_index
    logits = input.to(dtype).movedim(dim, -1).where(kept.unsqueeze(-1), 0.0)
    index = target.where(kept, 0)
    model = torch.distributions.Categorical(logits=logits, validate_args=False)
    rows: Tensor = -model.log_prob(index)  # type: ignore[no-untyped-call]
    w = torch.ones_like(rows) if weight is None else weight.to(dtype)[index.long()]
    return _reduced((rows * w).where(kept, 0.0), w.where(kept, 0.0), reduction, input.dtype)


def sequential_rows(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Row after row in Python, added up from the last to the first."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dtype, dim = _halved(input), 1 if input.dim() > 1 else 0
    x = input.to(dtype).movedim(dim, -1)
    shape, classes = x.shape[:-1], x.shape[-1]
    soft = target.is_floating_point()
    labels = target.to(dtype).movedim(dim, -1) if soft else target
    labels = labels.reshape(-1, classes) if soft else labels.reshape(-1)
    w = x.new_ones(classes) if weight is None else weight.to(dtype)
    if not len(labels):
        return _reduced(x.sum(-1), x.new_zeros(0), reduction, input.dtype)
    total, below, rows = x.new_zeros(()), x.new_zeros(()), []
    for row, label in reversed(list(zip(x.reshape(-1, classes), labels, strict=True))):
        if not soft and int(label) == ignore_index:
            rows.append(row.where(x.new_zeros(()).bool(), 0.0).sum())
            total = total + rows[-1]
            continue
        nll = row.logsumexp(0) - row
        if soft:
            q = (1.0 - label_smoothing) * label + label_smoothing / classes
            one = (q * w * nll.where((q != 0) | nll.isfinite(), 0.0)).sum()
            below = below + 1.0
        else:
            one = w[label.long()] * nll[label.long()]
            if label_smoothing:
                one = (1.0 - label_smoothing) * one + label_smoothing * (w * nll).mean()
            below = below + w[label.long()]
        rows.append(one)
        total = total + one
    if reduction == "none":
        return torch.stack(rows[::-1]).reshape(shape).to(input.dtype)
    return (total if reduction == "sum" else total / below).to(input.dtype)


IMPLEMENTATIONS = (
    variant(__name__, "kl_divergence", promises=COMPOSED),
    variant(__name__, "einsum", promises=COMPOSED),
    variant(__name__, "flattened_gather", lacks=("soft_target",), promises=COMPOSED),
    variant(__name__, "comparison_mask", lacks=("soft_target",)),
    variant(__name__, "minus_one_ignored", lacks=("ignore_minus_100", "soft_target")),
    variant(__name__, "scattered", promises=COMPOSED),
    variant(__name__, "two_classes_as_one"),
    variant(__name__, "categorical", lacks=("soft_target",)),
    variant(__name__, "sequential_rows", max_elements=1000),
)
