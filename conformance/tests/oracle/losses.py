"""Correct but unlike cross entropies, and faulty ones, for testing the oracle itself.

A loss is a way to get log-probabilities and probabilities of rows (``Engine``) and a
``Tail`` that turns them into the loss and the gradient by hand, in the compute dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nll_conformance.bounds import compute_dtype
from nll_conformance.families.cross_entropy.oracle import kept_rows
from nll_conformance.model import Case, Precision
from nll_conformance.recipes import build

from .engines import (
    Engine,
    bf16,
    exp2,
    exp2_fma,
    fast_math,
    from_p,
    log1p_form,
    log_add_exp,
    low_exp,
    lse_first,
    no_max,
    no_rescale,
    online,
    permuted,
    reverse,
    sequential,
    shift,
    summed,
    through,
    vocab_split,
    wide,
)

Tensor = torch.Tensor


@dataclass(frozen=True)
class Loss:
    """An engine with what its tail does, and the precision that it may claim."""

    engine: Engine
    precision: Precision = "fp32_inside"
    low_rows: bool = False
    one_hot: bool = False
    reduce: str = "torch"
    fault: str = ""


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
    "sum_bf16": Loss(summed(lambda e: bf16(e.sum(1, keepdim=True)))),
    "exp_bf16": Loss(through(low_exp)),
    "sub_bf16": Loss(through(lambda d, e: shift(bf16(d)))),
    "p_bf16": Loss(lambda x: (x.log_softmax(1), bf16(x.softmax(1)))),
    "log_p": Loss(from_p(lambda p: p.log())),
    "log_p_eps8": Loss(from_p(lambda p: (p + 1e-8).log())),
    "clamp_p7": Loss(from_p(lambda p: p.clamp(min=1e-7).log())),
    "clamp_loss": Loss(lambda x: (x.log_softmax(1).clamp(min=-100), x.softmax(1))),
    "no_max": Loss(no_max),
    "no_rescale": Loss(no_rescale),
    "low_logits": Loss(lambda x: shift(bf16(x))),
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
        rows = bf16(rows)
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
        num = bf16(num)
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
