"""The oracle agrees with 50-digit arithmetic to within the error it charges itself."""

from __future__ import annotations

import random

import pytest
import torch
from mpmath import mp, mpf

from nll_conformance.bounds import EXACT, Arithmetic
from nll_conformance.families.cross_entropy.oracle import enclose, kept_rows
from nll_conformance.model import DTYPES, Case
from nll_conformance.recipes import build
from nll_conformance.truth import Exact, Truth

from .drawn import SMALL, case

mp.dps = 50
CASES = 80
#: No roundings but the oracle's own, so that the bound is what it charges itself.
OWN_ONLY = Arithmetic(EXACT, EXACT, EXACT)
UNROUNDED = {getattr(torch, name): EXACT for name in DTYPES}


def digits(c: Case, arguments: dict[str, torch.Tensor]) -> tuple[list, mpf, list, list]:
    """Rows, denominator, gradients in logits and in class probabilities, rows by rows."""
    x, target = arguments["input"].detach(), arguments["target"].detach()
    axis = 1 if x.dim() > 1 else 0
    flat = x.movedim(axis, -1).reshape(-1, x.shape[axis]).double().tolist()
    kept = kept_rows(c, arguments).reshape(-1).tolist()
    classes, eps = x.shape[axis], mpf(c.option("label_smoothing", 0.0))
    w = arguments.get("weight", torch.ones(classes)).double().tolist()
    soft = target.is_floating_point()
    up = build(c.upstream).double().reshape(-1).tolist()
    if soft:
        shares = target.movedim(axis, -1).reshape(-1, classes).double().tolist()
        den = mpf(sum(kept))
    else:
        picked = target.reshape(-1).tolist()
        shares = [[float(j == t) for j in range(classes)] for t in picked]
        den = mp.fsum(w[t] for t, k in zip(picked, kept, strict=True) if k)
    rows, grads, targets = [], [], []
    for n, (row, k) in enumerate(zip(flat, kept, strict=True)):
        if not k:
            rows.append(mpf(0))
            grads.append([mpf(0)] * classes)
            targets.append([mpf(0)] * classes)
            continue
        top = max(row)
        e = [mp.exp(mpf(v) - top) for v in row]
        s = mp.fsum(e)
        # 50 digits do not hold 1 + 1e-100: the maximum stays outside the sum
        log_sum = mp.log1p(mp.fsum(e[: row.index(top)] + e[row.index(top) + 1 :]))
        loss = [log_sum + (top - mpf(v)) if v > -mp.inf else mpf(0) for v in row]
        a = [mpf(w[j]) * (mpf(shares[n][j]) * (1 - eps) + eps / classes) for j in range(classes)]
        rows.append(mp.fsum(i * j for i, j in zip(a, loss, strict=True)))
        scale = mpf(up[n if len(up) > 1 else 0])
        if c.option("reduction") == "mean":
            scale = scale / den if den else mpf("nan")
        total = mp.fsum(a)
        grads.append([scale * (total * e[j] / s - a[j]) for j in range(classes)])
        targets.append([scale * (1 - eps) * w[j] * loss[j] for j in range(classes)])
    return rows, den, grads, targets


def agrees(exact: Exact, wanted: list[mpf]) -> bool:
    """Whether every judged entry is within its bound, also of non-finite kind."""
    value, bound = exact.value.reshape(-1).tolist(), exact.bound.reshape(-1).tolist()
    for got, own, want in zip(value, bound, wanted, strict=True):
        if own == mp.inf or (got != got and mp.isnan(want)):
            continue
        # numbers below the range of float64 are allowed to be zero
        if not abs(mpf(got) - want) <= mpf(own) + mpf(10) ** -300:
            return False
    return True


def infinite(arguments: dict[str, torch.Tensor]) -> bool:
    """Whether some row's target lies at a logit of -inf."""
    x, target = arguments["input"].detach(), arguments["target"]
    if target.is_floating_point():
        return False
    rows = x.movedim(1 if x.dim() > 1 else 0, -1).reshape(target.numel(), -1)
    there = rows.gather(1, target.reshape(-1, 1).clamp(min=0))
    return bool(there.isneginf().any())


def flat(exact: Exact, axis: int) -> Exact:
    """Gradients with the classes last."""
    return Exact(exact.value.movedim(axis, -1), exact.bound.movedim(axis, -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_against_fifty_digits(dtype: str) -> None:
    rng = random.Random(dtype)
    for _ in range(CASES):
        c = case(rng, dtype, SMALL, spread=False)
        arguments = c.build()
        if infinite(arguments):
            continue  # infinite losses have their own tests
        found: Truth = enclose(c, arguments, OWN_ONLY, EXACT, {}, UNROUNDED)
        rows, den, grads, targets = digits(c, arguments)
        reduction = c.option("reduction")
        value = rows if reduction == "none" else [mp.fsum(rows)]
        if reduction == "mean":
            value = [value[0] / den if den else mpf("nan")]
        assert agrees(found.value, value), c
        axis = 1 if arguments["input"].dim() > 1 else 0
        assert agrees(flat(found.grads["input"], axis), sum(grads, [])), c
        if "target" in found.grads:
            assert agrees(flat(found.grads["target"], axis), sum(targets, [])), c


def test_own_error_is_small() -> None:
    """What the oracle charges itself is nothing beside float32's roundings."""
    c = case(random.Random(3), "float32", (10,))
    found = enclose(c, c.build(), OWN_ONLY, EXACT, {}, UNROUNDED)
    finite = found.grads["input"].bound[found.grads["input"].bound.isfinite()]
    assert float(finite.max()) < 1e-12
