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
        acc = dtype_of(kind.sums, h.dtype, g.to(torch.promote_types(g.dtype, torch.float32)).dtype)
        dh, dw = torch.zeros(h.shape, dtype=acc), torch.zeros(w.shape, dtype=acc)
        db = torch.zeros(w.shape[0], dtype=acc)
        wide = torch.promote_types(g.dtype, torch.float32)
        unscaled = pull.to(held)
        chunks = torch.arange(len(h)).split(kind.rows)
        if fault == "last_chunk_has_no_gradient" and len(chunks) > 1:
            chunks = chunks[:-1]
        for part in chunks:
            gp = g[part].to(wide)
            dh[part] = (gp @ w.to(wide)).to(acc)
            if fault == "head_overwritten":
                dw, db = torch.zeros_like(dw), torch.zeros_like(db)
            gw = unscaled[part].to(wide) if fault == "upstream_not_on_head" else gp
            hp = h[part].to(wide)
            if fault == "ignored_rows_reach_head":
                lost = (t[part] == ignore).unsqueeze(1)
                gw = torch.where(lost, torch.full_like(gw, 1e-2), gw)
            dw += (gw.T @ hp).to(acc)
            db += gp.sum(0).to(acc)
        if fault == "bias_gradient_mean":
            db = db / max(len(h), 1)
        if fault == "tail_of_head_has_no_gradient":
            dw[len(dw) // 16 * 16 :] = 0 if len(dw) > 16 else dw[len(dw) // 16 * 16 :]
        if fault == "head_transposed" and w.shape[0] == w.shape[1]:
            dh = (g.to(wide) @ w.to(wide).T).to(acc)
        need = list(ctx.needs_input_grad)
        if fault == "head_waits_for_hidden" and not need[0]:
            need[1] = False
        if fault == "hidden_waits_for_head" and not need[1]:
            need[0] = False
        if fault == "bias_waits_for_head" and not need[1]:
            need[2] = False
        if fault == "frozen_gets_zero":
            dh = dh if need[1] else dh * 0
        grads = [dh.to(h.dtype), dw.to(w.dtype), db.to(w.dtype) if b is not None else None]
        return *[x if n else None for x, n in zip(grads, need, strict=False)], *[None] * 6


def run(kind: Kind, h, w, b, t, weight, ignore, reduction, eps, *, want_pull: bool = False):
    """Row losses (N,), denominator, and W p - a (N, C)."""
    inside = dtype_of(kind.inside, h.dtype, torch.float64)
    fault, (c, size) = kind.fault, w.shape
    hi, wi = h.to(inside), w.to(inside)
    z = hi @ wi.T
    target_b = b
    if b is not None:
        blocks = -(-size // 32) if fault == "bias_per_block" else 1
        z = z + (0 if fault == "bias_dropped" else b.to(inside))
        target_b = b.to(inside) * (blocks - 1)
        if fault == "target_without_bias":
            target_b = -b.to(inside)
    z = z.to(dtype_of(kind.logits, h.dtype, inside)).to(inside)
    kept = t != ignore
    index = torch.where(kept, t, 0)
    lse = None
    for block in z.split(kind.classes, 1):
        part = block.logsumexp(1)
        lse = part if lse is None else torch.logaddexp(lse, part)
    if lse is None:
        lse = z.new_zeros(len(z))
    if fault == "lse_first_block" and c > 16:
        lse = z[:, : c // 16 * 16].logsumexp(1)
    a = torch.zeros_like(z).scatter(1, index.unsqueeze(1), 1.0)
    if eps and fault != "smoothing_dropped":
        a = (1 - eps) * a + eps / c
    share = a
    if weight is not None:
        a = a * weight.to(inside)
    logits = z
    if b is not None and fault in ("bias_per_block", "target_without_bias"):
        logits = z + target_b * torch.zeros_like(z).scatter(1, index.unsqueeze(1), 1.0)
    if b is not None and fault == "smoothing_without_bias" and eps:
        logits = z - b.to(inside) * (share == eps / c)
    term = (lse.unsqueeze(1) - logits) * (a != 0).to(inside) * kept.unsqueeze(1)
    rows = torch.where(kept, torch.nan_to_num(a * term, nan=0.0).sum(1), 0.0)
    below = kept.sum()
    if weight is not None:
        below = torch.where(kept, weight.to(inside)[index], 0.0).sum()
    if fault == "counts_ignored":
        below = torch.tensor(len(t))
    if not want_pull:
        return rows, below, None
    p = (z - lse.unsqueeze(1)).exp()
    strength = a.sum(1, keepdim=True)
    if fault == "weight_not_in_gradient":
        strength, a = share.sum(1, keepdim=True), share
    return rows, below, torch.where(kept.unsqueeze(1), strength * p - a, 0.0)


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
