"""Correct but unlike cross entropies, and faulty ones, for testing the oracle itself.

A loss is a way to get log-probabilities and probabilities of rows (``Engine``) and a
``Tail`` that turns them into the loss and the gradient by hand, in the compute dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from nll_conformance.bounds import compute_dtype
from nll_conformance.families.cross_entropy.oracle import kept_rows
from nll_conformance.model import Case, Precision
from nll_conformance.recipes import build

Tensor = torch.Tensor
Engine = Callable[[Tensor], tuple[Tensor, Tensor]]
LOG2E = 1.4426950408889634


@dataclass(frozen=True)
class Loss:
    """An engine with what its tail does, and the precision that it may claim."""

    engine: Engine
    precision: Precision = "fp32_inside"
    low_rows: bool = False
    one_hot: bool = False
    reduce: str = "torch"
    fault: str = ""


def ordered(x: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Shift-first with a sequential sum in the given order of classes."""
    d = x - x.amax(1, keepdim=True)
    e = d.exp()
    s = torch.zeros_like(e[:, :1])
    for j in order.tolist():
        s = s + e[:, j : j + 1]
    return d - s.log(), e / s


def shift(x: Tensor) -> tuple[Tensor, Tensor]:
    d = x - x.amax(1, keepdim=True)
    e = d.exp()
    s = e.sum(1, keepdim=True)
    return d - s.log(), e / s


def sequential(x: Tensor) -> tuple[Tensor, Tensor]:
    return ordered(x, torch.arange(x.shape[1]))


def reverse(x: Tensor) -> tuple[Tensor, Tensor]:
    return ordered(x, torch.arange(x.shape[1]).flip(0))


def permuted(x: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(x.shape[1])
    return ordered(x, torch.randperm(x.shape[1], generator=generator))


def lse_first(x: Tensor) -> tuple[Tensor, Tensor]:
    m = x.amax(1, keepdim=True)
    logp = x - (m + (x - m).exp().sum(1, keepdim=True).log())
    return logp, logp.exp()


def online(block: int) -> Engine:
    def engine(x: Tensor) -> tuple[Tensor, Tensor]:
        m = torch.full_like(x[:, :1], -math.inf)
        s = torch.zeros_like(m)
        for part in x.split(block, 1):
            new = torch.maximum(m, part.amax(1, keepdim=True))
            # a block of -inf alone must not give -inf minus -inf
            safe = new.masked_fill(new.isneginf(), 0.0)
            s = s * (m - safe).exp() + (part - safe).exp().sum(1, keepdim=True)
            m = new
        return (x - m) - s.log(), (x - m).exp() / s

    return engine


def exp2(x: Tensor) -> tuple[Tensor, Tensor]:
    d = x - x.amax(1, keepdim=True)
    e = (d * LOG2E).exp2()
    s = e.sum(1, keepdim=True)
    return d - s.log2() * math.log(2), e / s


def exp2_fma(x: Tensor) -> tuple[Tensor, Tensor]:
    m = x.amax(1, keepdim=True)
    scale = torch.tensor(LOG2E, dtype=x.dtype)
    shifted = (x.double() * scale - (m * scale).double()).to(x.dtype)
    e = shifted.exp2()
    s = e.sum(1, keepdim=True)
    return x - (m + s.log2() * math.log(2)), e / s


def log_add_exp(x: Tensor) -> tuple[Tensor, Tensor]:
    lse = torch.full_like(x[:, :1], -math.inf)
    classes = x.shape[1]
    block = max(128, -(-classes // 8)) if classes > 256 else -(-classes // 3)
    for part in x.split(block, 1):
        lse = torch.logaddexp(lse, part.logsumexp(1, keepdim=True))
    return x - lse, (x - lse).exp()


def log1p_form(x: Tensor) -> tuple[Tensor, Tensor]:
    m, where = x.max(1, keepdim=True)
    e = (x - m).exp()
    rest = e.scatter(1, where, 0.0).sum(1, keepdim=True)
    return (x - m) - rest.log1p(), e / (1 + rest)


def wide(x: Tensor) -> tuple[Tensor, Tensor]:
    logp = x.double().log_softmax(1)
    return logp.to(x.dtype), logp.exp().to(x.dtype)


def fast_math(x: Tensor) -> tuple[Tensor, Tensor]:
    """exp and log off by the documented maxima of GPU fast-math, at random signs."""
    u = torch.finfo(x.dtype).eps / 2
    d = x - x.amax(1, keepdim=True)
    sign = 2.0 * (torch.arange(x.shape[1]) * 7919 % 3 % 2).to(x.dtype) - 1
    e = d.exp() * (1 + sign * u * (3.5 + 2.3 * d.abs().clamp(max=80)))
    s = e.sum(1, keepdim=True)
    return d - (s.log() + 5 * u), e / s


def vocab_split(x: Tensor) -> tuple[Tensor, Tensor]:
    parts = x.split(-(-x.shape[1] // 4), 1)
    tops = torch.cat([p.amax(1, keepdim=True) for p in parts], 1)
    m = tops.amax(1, keepdim=True)
    safe = tops.masked_fill(tops.isneginf(), 0.0)
    sums = [(p - safe[:, i : i + 1]).exp().sum(1, keepdim=True) for i, p in enumerate(parts)]
    s = (torch.cat(sums, 1) * (tops - m).exp()).sum(1, keepdim=True)
    return x - (m + s.log()), (x - m).exp() / s


def through(function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Engine:
    """An engine from the shifted logits and their exponentials."""

    def engine(x: Tensor) -> tuple[Tensor, Tensor]:
        d = x - x.amax(1, keepdim=True)
        return function(d, d.exp())

    return engine


def summed(change: Callable[[Tensor], Tensor]) -> Engine:
    """Shift-first with a faulty sum of exponentials."""

    def finish(d: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        s = change(e)
        return d - s.log(), e / s

    return through(finish)


def _bf16(t: Tensor) -> Tensor:
    return t.bfloat16().to(t.dtype)


def _from_p(change: Callable[[Tensor], Tensor]) -> Engine:
    return lambda x: (change(x.softmax(1)), x.softmax(1))


def _low_exp(d: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    e = _bf16(e)
    s = e.sum(1, keepdim=True)
    return d - s.log(), e / s


def _no_max(x: Tensor) -> tuple[Tensor, Tensor]:
    e = x.exp()
    s = e.sum(1, keepdim=True)
    return x - s.log(), e / s


def _no_rescale(x: Tensor) -> tuple[Tensor, Tensor]:
    m = torch.cummax(x, 1).values
    s = (x - m).exp().sum(1, keepdim=True)
    top = m[:, -1:]
    return x - top - s.log(), (x - top).exp() / s


CORRECT: Mapping[str, Loss] = {
    "shift": Loss(shift),
    "sequential": Loss(sequential),
    "reverse": Loss(reverse),
    "permuted": Loss(permuted),
    "lse_first": Loss(lse_first),
    "online_1": Loss(online(1)),
    "online_7": Loss(online(7)),
    "exp2": Loss(exp2),
    "exp2_fma": Loss(exp2_fma),
    "log_add_exp": Loss(log_add_exp),
    "log1p_form": Loss(log1p_form),
    "wide": Loss(wide),
    "fast_math": Loss(fast_math),
    "vocab_split": Loss(vocab_split),
    "one_hot": Loss(shift, one_hot=True),
    "low_rows": Loss(shift, "rounded_rows", low_rows=True),
    "sequential_rows": Loss(shift, reduce="sequential"),
    "chunked_rows": Loss(online(3), reduce="chunks"),
}

FAULTS: Mapping[str, Loss] = {
    "drop_last": Loss(summed(lambda e: e[:, :-1].sum(1, keepdim=True))),
    "drop_first": Loss(summed(lambda e: e[:, 1:].sum(1, keepdim=True))),
    "double_last": Loss(summed(lambda e: (e.sum(1) + e[:, -1]).unsqueeze(1))),
    "pad_zero": Loss(summed(lambda e: e.sum(1, keepdim=True) + 1)),
    "eps_in_sum": Loss(summed(lambda e: e.sum(1, keepdim=True) + 1e-6)),
    "sum_bf16": Loss(summed(lambda e: _bf16(e.sum(1, keepdim=True)))),
    "exp_bf16": Loss(through(_low_exp)),
    "sub_bf16": Loss(through(lambda d, e: shift(_bf16(d)))),
    "p_bf16": Loss(lambda x: (x.log_softmax(1), _bf16(x.softmax(1)))),
    "log_p": Loss(_from_p(lambda p: p.log())),
    "log_p_eps8": Loss(_from_p(lambda p: (p + 1e-8).log())),
    "clamp_p7": Loss(_from_p(lambda p: p.clamp(min=1e-7).log())),
    "clamp_loss": Loss(lambda x: (x.log_softmax(1).clamp(min=-100), x.softmax(1))),
    "no_max": Loss(_no_max),
    "no_rescale": Loss(_no_rescale),
    "low_logits": Loss(lambda x: shift(_bf16(x))),
    "z_loss": Loss(
        lambda x: (x.log_softmax(1) - 1e-4 * x.logsumexp(1, keepdim=True) ** 2, x.softmax(1))
    ),
    "softcap": Loss(lambda x: shift(30 * torch.tanh(x / 30))),
    **{
        name: Loss(shift, fault=name)
        for name in (
            "smooth_c_minus_1",
            "smooth_no_scale",
            "smooth_no_target",
            "smooth_no_weight",
            "ignored_smoothed",
            "mean_all_rows",
            "mean_count",
            "mean_bf16",
            "rows_bf16",
            "no_weight",
            "upstream_first",
            "no_upstream",
            "grad_ignored",
            "grad_clamp",
            "grad_tail",
            "grad_weightless",
            "den_eps",
        )
    },
}


def run(
    loss: Loss, case: Case, arguments: Mapping[str, Tensor], output: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of ``case`` as ``loss`` computes them."""
    logits, target = arguments["input"].detach(), arguments["target"].detach()
    axis = 1 if logits.dim() > 1 else 0
    own = compute_dtype(logits.dtype)
    shape = logits.movedim(axis, -1).shape
    x = logits.movedim(axis, -1).reshape(-1, shape[-1]).to(own)
    kept = kept_rows(case, arguments).reshape(-1)
    x = x.masked_fill(~kept.unsqueeze(1), 0.0)
    classes, eps = x.shape[1], case.option("label_smoothing", 0.0)
    reduction, fault = case.option("reduction", "mean"), loss.fault
    weight = arguments.get("weight")
    w = torch.ones(classes, dtype=own) if weight is None else weight.to(own)
    soft = target.is_floating_point()
    if soft:
        q = target.movedim(axis, -1).reshape(-1, classes).to(own)
        indices = torch.zeros(len(x), dtype=torch.int64)
    else:
        indices = target.reshape(-1).long().where(kept, 0)
        q = torch.nn.functional.one_hot(indices, classes).to(own)
    a = _coefficients(q, w, eps, fault)
    gone = kept.unsqueeze(1)
    mass = a if fault == "ignored_smoothed" else a * gone
    low = (lambda t: t.to(logits.dtype).to(own)) if loss.low_rows else (lambda t: t)
    logp, p = loss.engine(x) if len(x) else (x, x)
    logp = low(logp)
    if soft or eps or loss.one_hot:
        addends = torch.where(mass == 0, torch.zeros((), dtype=own), mass * logp)
        rows = -addends.sum(1)
    else:
        rows = -(mass * logp.masked_fill(mass == 0, 0.0)).gather(1, indices.unsqueeze(1))[:, 0]
    rows = low(rows)
    if fault == "rows_bf16":
        rows = _bf16(rows)
    value, den = _reduce(
        loss, rows, w[indices] * kept if not soft else kept.to(own), kept, reduction
    )
    if reduction == "none":
        value = rows.reshape(shape[:-1])
    grads: dict[str, Tensor] = {}
    if case.upstream is not None:
        up = build(case.upstream).to(own).reshape(-1)
        if fault == "upstream_first":
            up = up[:1]
        if fault == "no_upstream":
            up = torch.ones_like(up)
        s = (up / den if reduction == "mean" else up).unsqueeze(-1)
        total = mass.sum(1, keepdim=True)
        if fault == "grad_weightless":
            total = torch.ones_like(total)
        g = s * (total * p - mass)
        g = g.where(gone, s * p if fault == "grad_ignored" else 0.0)
        if fault == "grad_clamp":
            g = g.where(g.abs() > 1e-6, 0.0)
        if fault == "grad_tail":
            g[:, -1] = 0
        grads["input"] = g.to(logits.dtype).reshape(shape).movedim(-1, axis)
        if soft:
            t = torch.where(gone, -s * (1 - eps) * w * logp, torch.zeros((), dtype=own))
            grads["target"] = t.to(target.dtype).reshape(shape).movedim(-1, axis)
    return value.to(output), grads


def _coefficients(q: Tensor, w: Tensor, eps: float, fault: str) -> Tensor:
    classes = q.shape[1]
    if fault == "no_weight":
        w = torch.ones_like(w)
    rest = eps / (classes - 1) if fault == "smooth_c_minus_1" else eps / classes
    keep = 1.0 if fault == "smooth_no_scale" else 1 - eps
    extra = rest * (1 - q) if fault == "smooth_no_target" else rest
    if fault == "smooth_no_weight":
        return keep * q * w + extra
    return (keep * q + extra) * w


def _reduce(
    loss: Loss, rows: Tensor, weights: Tensor, kept: Tensor, reduction: str
) -> tuple[Tensor, Tensor]:
    den = weights.sum()
    if loss.fault == "mean_all_rows":
        den = torch.tensor(float(len(rows)), dtype=rows.dtype)
    if loss.fault == "mean_count":
        den = kept.sum().to(rows.dtype)
    if loss.fault == "den_eps":
        den = den + 1e-5
    if loss.reduce == "sequential":
        num, den = torch.zeros_like(den), torch.zeros_like(den)
        for row, weight in zip(rows, weights, strict=True):
            num, den = num + row, den + weight
    elif loss.reduce == "chunks":
        num = sum((part.sum() for part in rows.split(3)), torch.zeros_like(den))
    else:
        num = rows.sum()
    if loss.fault == "mean_bf16":
        num, den = torch.cumsum(rows.bfloat16(), 0)[-1].to(rows.dtype), den
        num = _bf16(num)
    return (num / den if reduction == "mean" else num), den


def torch_loss(
    case: Case, arguments: Mapping[str, Tensor], output: torch.dtype, cast: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """``torch.nn.functional.cross_entropy`` itself, eager or computed in the wide dtype."""
    x = arguments["input"].detach().requires_grad_()
    own = compute_dtype(x.dtype) if cast else x.dtype
    target, options = arguments["target"].detach(), dict(case.options)
    if "mask" in arguments:
        ignored = options.get("ignore_index", -100)
        target = target.masked_fill(~arguments["mask"], ignored)
    soft = target.is_floating_point()
    leaf = target.requires_grad_() if soft else target
    weight = arguments.get("weight")
    value = torch.nn.functional.cross_entropy(
        x.to(own), leaf.to(own) if soft else leaf.long(),
        weight=None if weight is None else weight.to(own), **options,
    ).to(output)  # fmt: skip
    grads: dict[str, Tensor] = {}
    if case.upstream is not None:
        wanted = [x, leaf] if soft else [x]
        names = ["input", "target"]
        found = torch.autograd.grad(value, wanted, build(case.upstream).to(output))
        grads = dict(zip(names, found, strict=False))
    return value.detach(), grads
