"""Ways to get log-probabilities and probabilities of rows of logits, right and wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Tensor = torch.Tensor
Engine = Callable[[Tensor], tuple[Tensor, Tensor]]
LOG2E = 1.4426950408889634


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


def bf16(t: Tensor) -> Tensor:
    return t.bfloat16().to(t.dtype)


def from_p(change: Callable[[Tensor], Tensor]) -> Engine:
    return lambda x: (change(x.softmax(1)), x.softmax(1))


def low_exp(d: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    e = bf16(e)
    s = e.sum(1, keepdim=True)
    return d - s.log(), e / s


def no_max(x: Tensor) -> tuple[Tensor, Tensor]:
    e = x.exp()
    s = e.sum(1, keepdim=True)
    return x - s.log(), e / s


def no_rescale(x: Tensor) -> tuple[Tensor, Tensor]:
    m = torch.cummax(x, 1).values
    s = (x - m).exp().sum(1, keepdim=True)
    top = m[:, -1:]
    return x - top - s.log(), (x - top).exp() / s
