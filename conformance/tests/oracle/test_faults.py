"""Faults that real losses had are outside the bound on inputs aimed at them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nll_conformance.families.cross_entropy.oracle import truth
from nll_conformance.model import Case
from nll_conformance.recipes import TensorRecipe

from .drawn import ratio
from .losses import CORRECT, FAULTS, run

ALL = ("float32", "bfloat16", "float16", "float64")
Recipe = Callable[[str, int], Case]


def make(x: TensorRecipe, target: TensorRecipe, *more: tuple[str, TensorRecipe], **options) -> Case:
    size = target.shape if options.get("reduction") == "none" else ()
    if target.dtype != "int64":
        size = (x.shape[0],) if size else ()
    upstream = TensorRecipe("scatter" if size else "constant", size, x.dtype, -1, 1.5, seed=3)
    tensors = (("input", x), ("target", target), *more)
    return Case("cross_entropy", "t", tensors, tuple(options.items()), upstream, x.dtype, "cpu")


def logits(shape: tuple[int, ...], dtype: str, seed: int, scale: int = -1, *edits, offset=0.0):
    return TensorRecipe(
        "scatter", shape, dtype, scale, offset, seed, edits=tuple(edits), grad=True
    )  # fmt: skip


def heavy(where: int) -> Recipe:
    """A class with most of the mass on a structural position, the target elsewhere."""

    def recipe(dtype: str, seed: int) -> Case:
        x = logits((3, 33), dtype, seed, -1, ((None, where), 5.5))
        return make(x, TensorRecipe("constant", (3,), "int64", offset=7.0), reduction="none")

    return recipe


def below(depth: float) -> Recipe:
    """The target far below the maximum."""

    def recipe(dtype: str, seed: int) -> Case:
        x = logits((3, 5), dtype, seed, -1, ((None, 3), -depth))
        return make(x, TensorRecipe("constant", (3,), "int64", offset=3.0), reduction="none")

    return recipe


def confident(dtype: str, seed: int) -> Case:
    x = logits((4, 3), dtype, seed, -1, ((None, 1), 6.0))
    return make(x, TensorRecipe("constant", (4,), "int64", offset=1.0), reduction="none")


def tails(dtype: str, seed: int) -> Case:
    x = logits((4, 5), dtype, seed, -1, ((None, 1), 15.0))
    return make(x, TensorRecipe("constant", (4,), "int64", offset=1.0), reduction="none")


def shifted(dtype: str, seed: int) -> Case:
    x = logits((4, 5), dtype, seed, -1, offset=37.3)
    return make(x, TensorRecipe("levels", (4,), "int64", modulus=5, seed=seed), reduction="none")


def large(dtype: str, seed: int) -> Case:
    """Logits whose exponential overflows, the maximum last."""
    x = TensorRecipe("ramp", (3, 7), dtype, 5, 0.0, seed, grad=True)
    return make(x, TensorRecipe("levels", (3,), "int64", modulus=7, seed=seed), reduction="none")


def options(dtype: str, seed: int) -> Case:
    """Few classes; weights, ignored rows and smoothing at once."""
    target = TensorRecipe("levels", (8,), "int64", modulus=3, seed=seed, edits=(((2,), -100),))
    weight = TensorRecipe("ramp", (3,), dtype, -1, 0.25)
    return make(logits((8, 3), dtype, seed), target, ("weight", weight), label_smoothing=0.25)


def vector(dtype: str, seed: int) -> Case:
    weight = TensorRecipe("ramp", (3,), dtype, -1, 0.25)
    target = TensorRecipe("levels", (6,), "int64", modulus=3, seed=seed)
    return make(logits((6, 3), dtype, seed), target, ("weight", weight), reduction="none")


def many(dtype: str, seed: int) -> Case:
    target = TensorRecipe("levels", (1500,), "int64", modulus=3, seed=seed)
    return make(logits((1500, 3), dtype, seed), target)


ONLY64, NOT_64 = ("float64",), ("float32", "bfloat16", "float16")
NOT_BF16 = ("float32", "float16", "float64")
AIMED: list[tuple[str, Recipe, tuple[str, ...]]] = [
    ("drop_last", heavy(32), ALL),
    ("double_last", heavy(32), ALL),
    ("drop_first", heavy(0), ALL),
    ("grad_tail", heavy(32), ALL),
    ("pad_zero", confident, ALL),
    ("eps_in_sum", confident, ONLY64),
    ("log_p_eps8", below(25.0), ALL),
    ("clamp_p7", below(25.0), ALL),
    ("log_p", below(150.0), NOT_64),
    ("clamp_loss", below(150.0), ALL),
    ("sum_bf16", confident, ALL),
    ("exp_bf16", confident, ALL),
    ("sub_bf16", confident, NOT_BF16),
    ("p_bf16", confident, ALL),
    ("rows_bf16", confident, NOT_BF16),
    ("grad_clamp", tails, ALL),
    ("no_max", large, NOT_64),
    ("no_rescale", large, ALL),
    ("low_logits", shifted, NOT_BF16),
    ("z_loss", shifted, ALL),
    ("softcap", shifted, ALL),
    ("smooth_c_minus_1", options, ALL),
    ("smooth_no_scale", options, ALL),
    ("smooth_no_target", options, ALL),
    ("smooth_no_weight", options, ALL),
    ("ignored_smoothed", options, ALL),
    ("mean_all_rows", options, ALL),
    ("mean_count", options, ALL),
    ("no_upstream", options, ALL),
    ("grad_ignored", options, ALL),
    ("grad_weightless", options, ALL),
    ("no_weight", vector, ALL),
    ("upstream_first", vector, ALL),
    ("mean_bf16", many, ALL),
    ("den_eps", options, ONLY64),
]


def furthest(name: str, c: Case) -> float:
    """Error over bound of the worst quantity, judged as float32 inside."""
    loss = FAULTS.get(name) or CORRECT[name]
    arguments = c.build()
    # float32 output where the input is 16-bit: the row's own rounding hides nothing
    output = torch.float64 if c.dtype == "float64" else torch.float32
    value, grads = run(loss, c, arguments, output)
    exact = truth(c, arguments, precision="fp32_inside", output_dtype=output, divergences={})
    return max(ratio(value, exact.value), ratio(grads["input"], exact.grads["input"]))


@pytest.mark.parametrize(("name", "recipe", "dtypes"), AIMED, ids=[a[0] for a in AIMED])
def test_fault_is_outside(name: str, recipe: Recipe, dtypes: tuple[str, ...]) -> None:
    for dtype in dtypes:
        killed = sum(furthest(name, recipe(dtype, seed)) > 1 for seed in range(8))
        assert killed >= 6, (dtype, killed)


@pytest.mark.parametrize("recipe", dict.fromkeys(a[1] for a in AIMED), ids=lambda r: r.__qualname__)
def test_correct_losses_are_inside_there_too(recipe: Recipe) -> None:
    for dtype in ALL:
        for name, loss in CORRECT.items():
            if loss.precision == "fp32_inside":
                assert furthest(name, recipe(dtype, 1)) <= 1, (dtype, name)


def test_every_fault_is_aimed_at() -> None:
    assert {a[0] for a in AIMED} == set(FAULTS)
