"""One fused linear cross entropy by hand, in correct variants and with planted faults.

Forward and backward are explicit formulas on chunks of rows and blocks of classes; nothing
is left to autograd.  ``Kind`` says which dtype does what, ``fault`` what is broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Loss = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """``inside`` computes, ``logits`` holds logits and their gradient, ``sums`` the sums."""

    inside: str = "float32"
    logits: str | None = None
    sums: str | None = None
    rows: int = 4
    classes: int = 10**9
    fault: str = ""


def dtype_of(name: str | None, own: torch.dtype, default: torch.dtype) -> torch.dtype:
    if name == "own":
        return own
    return default if name is None or own == torch.float64 else getattr(torch, name)


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h, w, b, t, weight, ignore, reduction, eps, kind: Kind):
        ctx.kind, ctx.options = kind, (ignore, reduction, eps)
        ctx.save_for_backward(h, w, b, t, weight)
        rows, below, _ = run(kind, h, w, b, t, weight, ignore, reduction, eps)
        if reduction == "none":
            return rows.to(h.dtype)
        if kind.fault == "chunk_means":
            kept = (t != ignore).split(kind.rows)
            parts = [r.sum() / k.sum() for r, k in zip(rows.split(kind.rows), kept, strict=True)]
            return (torch.stack(parts).sum() if reduction == "mean" else rows.sum()).to(h.dtype)
        total = rows.sum()
        return (total / below if reduction == "mean" else total).to(h.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream):
        h, w, b, t, weight = ctx.saved_tensors
        kind, (ignore, reduction, eps) = ctx.kind, ctx.options
        _, below, pull = run(kind, h, w, b, t, weight, ignore, reduction, eps, want_pull=True)
        fault = kind.fault
        up = upstream.to(pull.dtype)
        scale = up / below if reduction == "mean" else up
        if fault == "upstream_of_first_row" and scale.dim():
            scale = scale[0]
        g = pull * (scale.unsqueeze(1) if scale.dim() else scale)
        g = torch.where((t != ignore).unsqueeze(1), g, 0.0)  # also where the mean is 0/0
        held = dtype_of(kind.logits, h.dtype, g.dtype)
        g = g.to(held)
        grads = through_head(kind, h, w, t, g, pull.to(held), ignore)
        grads = spoiled(kind.fault, ctx.needs_input_grad, g, w, *grads)
        found = zip(grads, (h, w, b), ctx.needs_input_grad, strict=False)
        return *[x.to(y.dtype) if x is not None and n else None for x, y, n in found], *[None] * 6


def through_head(kind: Kind, h, w, t, g, unscaled, ignore):
    """Gradients of hidden states, head and bias, summed chunk by chunk."""
    wide = torch.promote_types(g.dtype, torch.float32)
    acc, fault = dtype_of(kind.sums, h.dtype, wide), kind.fault
    dh, dw = torch.zeros(h.shape, dtype=acc), torch.zeros(w.shape, dtype=acc)
    db = torch.zeros(w.shape[0], dtype=acc)
    chunks = torch.arange(len(h)).split(kind.rows)
    if fault == "last_chunk_has_no_gradient" and len(chunks) > 1:
        chunks = chunks[:-1]
    for part in chunks:
        gp, hp = g[part].to(wide), h[part].to(wide)
        dh[part] = (gp @ w.to(wide)).to(acc)
        if fault == "head_overwritten":
            dw, db = torch.zeros_like(dw), torch.zeros_like(db)
        gw = unscaled[part].to(wide) if fault == "upstream_not_on_head" else gp
        if fault == "ignored_rows_reach_head":
            gw = torch.where((t[part] == ignore).unsqueeze(1), torch.full_like(gw, 1e-2), gw)
        dw += (gw.T @ hp).to(acc)
        db += gp.sum(0).to(acc)
    return dh, dw, db


def spoiled(fault: str, need, g, w, dh, dw, db):
    """The gradients with a fault of their handling."""
    if fault == "bias_gradient_mean":
        db = db / max(len(g), 1)
    if fault == "tail_of_head_has_no_gradient" and len(dw) > 16:
        dw[len(dw) // 16 * 16 :] = 0
    if fault == "head_transposed" and w.shape[0] == w.shape[1]:
        dh = (g.to(w.dtype) @ w.T).to(dh.dtype)
    if fault == "frozen_gets_zero" and not need[1]:
        dh = dh * 0
    missing = {
        "head_waits_for_hidden": (1, 0),
        "hidden_waits_for_head": (0, 1),
        "bias_waits_for_head": (2, 1),
    }.get(fault)
    grads = [dh, dw, db]
    if missing and not need[missing[1]]:
        grads[missing[0]] = None
    return grads


def logits_of(kind: Kind, h, w, b, index):
    """Logits, and those that the target's loss is computed from."""
    inside = dtype_of(kind.inside, h.dtype, torch.float64)
    z = h.to(inside) @ w.to(inside).T
    if b is None:
        z = z.to(dtype_of(kind.logits, h.dtype, inside)).to(inside)
        return z, z
    b = b.to(inside)
    z = z if kind.fault == "bias_dropped" else z + b
    z = z.to(dtype_of(kind.logits, h.dtype, inside)).to(inside)
    extra = {"bias_per_block": -(-w.shape[1] // 32) - 1, "target_without_bias": -1}
    hot = torch.zeros_like(z).scatter(1, index.unsqueeze(1), 1.0)
    return z, z + extra.get(kind.fault, 0) * b * hot


def log_sums(kind: Kind, z):
    """Log-sum-exps, block by block of classes."""
    if kind.fault == "lse_first_block" and z.shape[1] > 16:
        z = z[:, : z.shape[1] // 16 * 16]
    first, *others = (block.logsumexp(1) for block in z.split(kind.classes, 1))
    for part in others:
        first = torch.logaddexp(first, part)
    return first


def run(kind: Kind, h, w, b, t, weight, ignore, reduction, eps, *, want_pull: bool = False):
    """Row losses (N,), denominator, and W p - a (N, C)."""
    fault, c, kept = kind.fault, w.shape[0], t != ignore
    index = torch.where(kept, t, 0)
    z, logits = logits_of(kind, h, w, b, index)
    lse = log_sums(kind, z)
    share = torch.zeros_like(z).scatter(1, index.unsqueeze(1), 1.0)
    if eps and fault != "smoothing_dropped":
        share = (1 - eps) * share + eps / c
    if b is not None and fault == "smoothing_without_bias" and eps:
        logits = z - b.to(z.dtype) * (share == eps / c)
    a = share if weight is None else share * weight.to(z.dtype)
    term = (lse.unsqueeze(1) - logits) * (a != 0) * kept.unsqueeze(1)
    rows = torch.where(kept, torch.nan_to_num(a * term, nan=0.0).sum(1), 0.0)
    below = kept.sum()
    if weight is not None:
        below = torch.where(kept, weight.to(z.dtype)[index], 0.0).sum()
    if fault == "counts_ignored":
        below = torch.tensor(len(t))
    if not want_pull:
        return rows, below, None
    a = share if fault == "weight_not_in_gradient" else a
    pull = a.sum(1, keepdim=True) * (z - lse.unsqueeze(1)).exp() - a
    return rows, below, torch.where(kept.unsqueeze(1), pull, 0.0)


def fused(**facts: Any) -> Loss:
    kind = Kind(**facts)
    cache: dict[Any, Any] = {}

    def loss(
        input, linear_weight, target, *, linear_bias=None, weight=None, ignore_index=-100,
        reduction="mean", label_smoothing=0.0,
    ):  # fmt: skip
        if linear_bias is not None and linear_bias.shape != linear_weight.shape[:1]:
            raise ValueError("the bias is not the head's")
        flat = input if input.dim() > 1 else input.unsqueeze(0)
        wanted = target.reshape(-1).long()
        if kind.fault == "writes_hidden":
            with torch.no_grad():
                input.mul_(1.0 + 2.0**-6)
        if kind.fault == "caches_head":
            linear_weight = cache.setdefault(tuple(linear_weight.shape), linear_weight)
        given = (wanted, weight, ignore_index, reduction, label_smoothing, kind)
        value = Fused.apply(flat, linear_weight, linear_bias, *given)
        return value.reshape(target.shape) if reduction == "none" else value

    return loss
