"""Random cases for testing the oracle, and the comparison that a judge would make."""

from __future__ import annotations

import random

import torch

from nll_conformance.model import Case, Scalar
from nll_conformance.recipes import TensorRecipe
from nll_conformance.truth import Exact

SMALL = (1, 2, 3, 5, 7, 10)
LARGE = (33, 64, 100, 129, 257)
REGIMES = ("normal", "narrow", "wide", "ramp", "ties", "offset", "peak", "wrong", "holes")


def logits(rng: random.Random, shape: tuple[int, ...], dtype: str, regime: str) -> TensorRecipe:
    """Logits of a regime that real losses have failed in."""
    unbatched = len(shape) == 1
    classes = shape[0] if unbatched else shape[1]
    here = rng.randrange(classes)
    at: tuple[int | None, ...] = (here,) if unbatched else (None, here)
    at += (None,) * (len(shape) - 2)
    base, scale, modulus, offset = "scatter", 0, 1, 0.0
    edits: list[tuple[tuple[int | None, ...], float]] = []
    if regime == "narrow":
        scale = -8
    elif regime == "wide":
        scale = rng.choice((4, 8) if dtype == "float16" else (4, 8, 12))
    elif regime == "ramp":
        base, scale = "ramp", rng.choice((-2, 0, 2))
    elif regime == "ties":
        base, modulus = "levels", rng.choice((1, 2, 3))
    elif regime == "offset":
        offset = rng.choice((-1.0, 1.0)) * rng.choice((30.0, 1e3, 3e4))
    elif regime == "peak":
        edits.append((at, rng.choice((6.0, 10.0, 16.0, 24.0))))
    elif regime == "wrong":
        edits.append((at, rng.choice((20.0, 45.0, 150.0))))
    elif regime == "holes" and classes > 1:
        edits.append((at, -torch.inf))
    return TensorRecipe(
        base, shape, dtype, scale, offset, rng.randrange(1000), modulus, tuple(edits), grad=True
    )  # fmt: skip


def case(rng: random.Random, dtype: str, classes: tuple[int, ...], *, spread: bool = True) -> Case:
    """One call with options drawn at random; ``spread`` also draws larger N and shapes."""
    c = rng.choice(classes)
    regime = rng.choice(REGIMES)
    n = rng.choice((1, 2, 4, 6, 33)) if spread else rng.choice((1, 2, 3))
    shape = rng.choice(((n, c), (n, c), (n, c), (2, c, 3), (c,)))
    batch = shape[:1] + shape[2:] if len(shape) > 1 else ()
    options: dict[str, Scalar] = {"reduction": rng.choice(("none", "sum", "mean"))}
    soft = regime != "holes" and rng.random() < 0.3
    tensors = [("input", logits(rng, shape, dtype, regime))]
    seed = rng.randrange(1000)
    if soft:
        q = TensorRecipe("simplex", shape, dtype, seed=seed, modulus=max(1, 256 // c), grad=True)
        tensors.append(("target", q))
    else:
        edits: tuple[tuple[tuple[int, ...], float], ...] = ()
        if batch and rng.random() < 0.3:
            edits = (((rng.randrange(batch[0]), *([0] * (len(batch) - 1))), -100),)
        t = TensorRecipe("levels", batch, "int64", seed=seed, modulus=c, edits=edits)
        tensors.append(("target", t))
        if rng.random() < 0.2:
            options["ignore_index"] = rng.choice((0, c - 1)) if not edits else -100
    if rng.random() < 0.4:
        w = TensorRecipe("levels", (c,), dtype, -3, rng.choice((0.125, 0.0625)), seed, 16)
        if rng.random() < 0.2:
            w = TensorRecipe("levels", (c,), dtype, -2, -0.875, seed, 8)
        tensors.append(("weight", w))
    if rng.random() < 0.2:
        tensors.append(("mask", TensorRecipe("levels", batch, "bool", seed=seed + 1, modulus=2)))
    if regime != "holes" and rng.random() < 0.4:
        options["label_smoothing"] = rng.choice((0.1, 0.3, 1.0))
    size = batch if options["reduction"] == "none" else ()
    upstream = TensorRecipe("scatter", size, dtype, rng.choice((-6, 0, 3)), 1.0, seed=seed)
    return Case(
        "cross_entropy", "t", tuple(tensors), tuple(options.items()), upstream, dtype, "cpu"
    )


def ratio(got: torch.Tensor, exact: Exact) -> float:
    """Largest error over bound; infinite where non-finite numbers differ."""
    assert got.shape == exact.value.shape == exact.bound.shape
    assert not bool(exact.bound.isnan().any()), "a NaN bound"
    found, true = got.detach().double(), exact.value
    same = (found == true) | (found.isnan() & true.isnan())
    judged = ~same & (exact.bound < torch.inf)
    if not bool(judged.any()):
        return 0.0
    error = (found - true).abs()[judged].nan_to_num(nan=torch.inf)
    return float((error / exact.bound[judged]).max())
