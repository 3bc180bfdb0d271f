"""What the oracle says where numbers alone do not decide: empty, infinite, undefined."""

from __future__ import annotations

import math

import pytest
import torch

from nll_conformance.families.cross_entropy.oracle import kept_rows, truth
from nll_conformance.model import Case, Precision
from nll_conformance.recipes import Edit, TensorRecipe
from nll_conformance.truth import Truth

NAN, INF = math.nan, math.inf


def make(
    edits: tuple[Edit, ...] = (),
    target: TensorRecipe | None = None,
    weight: tuple[float, ...] | None = None,
    mask: tuple[Edit, ...] | None = None,
    shape: tuple[int, ...] = (3, 4),
    dtype: str = "float32",
    **options: str | float,
) -> Case:
    x = TensorRecipe("scatter", shape, dtype, seed=4, edits=edits, grad=True)
    rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
    target = target or TensorRecipe("constant", rows, "int64", offset=1.0)
    tensors = [("input", x), ("target", target)]
    if weight is not None:
        at = tuple(((i,), v) for i, v in enumerate(weight))
        tensors.append(("weight", TensorRecipe("constant", (len(weight),), dtype, edits=at)))
    if mask is not None:
        tensors.append(("mask", TensorRecipe("constant", rows, "bool", offset=1.0, edits=mask)))
    size = rows if options.get("reduction") == "none" else ()
    upstream = TensorRecipe("constant", size, dtype, offset=1.5)
    return Case(
        "cross_entropy", "t", tuple(tensors), tuple(options.items()), upstream, dtype, "cpu"
    )  # fmt: skip


def ask(c: Case, precision: Precision = "input_dtype", **divergences: str) -> Truth:
    found = truth(
        c, c.build(), precision=precision, output_dtype=getattr(torch, c.dtype),
        divergences=divergences,
    )  # fmt: skip
    for exact in (found.value, *found.grads.values()):
        assert exact.value.shape == exact.bound.shape == exact.condition.shape
        assert not bool(exact.bound.isnan().any() | exact.condition.isnan().any())
        assert bool((exact.bound >= 0).all() & (exact.condition > 0).all())
    return found


def exactly(tensor: torch.Tensor, number: float) -> bool:
    want = torch.full_like(tensor, number)
    return bool(((tensor == want) | (tensor.isnan() & want.isnan())).all())


IGNORED = TensorRecipe("constant", (3,), "int64", offset=-100.0)


@pytest.mark.parametrize(("choice", "want"), [({}, NAN), ({"all_ignored_mean": "zero"}, 0.0)])
def test_all_ignored(choice: dict[str, str], want: float) -> None:
    found = ask(make(target=IGNORED), **choice)
    assert exactly(found.value.value, want)
    assert exactly(found.value.bound, 0.0)
    assert exactly(found.grads["input"].value, 0.0)
    assert exactly(found.grads["input"].bound, 0.0)


@pytest.mark.parametrize(("choice", "want"), [({}, NAN), ({"empty_mean": "zero"}, 0.0)])
def test_empty_batch(choice: dict[str, str], want: float) -> None:
    found = ask(make(shape=(0, 4)), **choice)
    assert exactly(found.value.value, want)
    assert found.grads["input"].value.shape == (0, 4)
    assert ask(make(shape=(0, 4), reduction="sum")).value.value == 0
    assert ask(make(shape=(0, 4), reduction="none")).value.value.shape == (0,)


@pytest.mark.parametrize("poison", [NAN, INF, -INF])
def test_poisoned_row(poison: float) -> None:
    """A counted row of NaN, +inf or only -inf is NaN, and no other row is."""
    at = (1, None) if poison == -INF else (1, 2)
    found = ask(make(edits=((at, poison),), reduction="none"))
    assert exactly(found.value.value[1], NAN)
    assert exactly(found.value.bound[1], 0.0)
    assert bool(found.value.value[[0, 2]].isfinite().all())
    assert exactly(found.grads["input"].value[1], NAN)
    assert exactly(found.grads["input"].bound[1], 0.0)
    assert bool(found.grads["input"].value[[0, 2]].isfinite().all())
    assert exactly(ask(make(edits=((at, poison),))).value.value, NAN)


@pytest.mark.parametrize("poison", [NAN, INF, -INF, 3e38])
@pytest.mark.parametrize("by", ["mask", "ignore"])
def test_poison_in_rows_that_do_not_count(poison: float, by: str) -> None:
    target = TensorRecipe("constant", (3,), "int64", offset=1.0, edits=(((1,), -100),))
    edits = (((1, None), poison),)
    c = make(edits, target) if by == "ignore" else make(edits, mask=(((1,), 0),))
    found = ask(c)
    clean = ask(make(target=target))
    assert found.value.value == clean.value.value
    assert exactly(found.grads["input"].value[1], 0.0)
    assert exactly(found.grads["input"].bound[1], 0.0)
    assert kept_rows(c, c.build()).tolist() == [True, False, True]


def test_hole_beside_the_target() -> None:
    c = make((((None, 3), -INF),), reduction="none")
    found, arguments = ask(c), c.build()
    value = torch.nn.functional.cross_entropy(
        arguments["input"].double(), arguments["target"], reduction="none"
    )
    assert torch.allclose(found.value.value, value, rtol=1e-14)
    assert exactly(found.grads["input"].value[:, 3], 0.0)
    assert bool((found.grads["input"].bound < 1e-5).all())
    smoothed = ask(make((((None, 3), -INF),), reduction="none", label_smoothing=0.1))
    assert exactly(smoothed.value.value, INF)
    assert exactly(smoothed.value.bound, 0.0)


@pytest.mark.parametrize(("share", "want"), [(0.0, None), (0.25, INF)])
def test_hole_under_class_probabilities(share: float, want: float | None) -> None:
    """A share of exactly 0 skips the class; any other makes the loss infinite."""
    edits = (((None, 0), 1.0 - share), ((None, 3), share))
    q = TensorRecipe("constant", (3, 4), "float32", edits=edits, grad=True)
    found = ask(make((((1, 3), -INF),), q, reduction="none"))
    if want is None:
        assert bool(found.value.value.isfinite().all())
    else:
        assert exactly(found.value.value[1], want)
        assert exactly(found.value.bound[1], 0.0)
    assert bool(found.value.value[[0, 2]].isfinite().all())
    assert exactly(found.grads["target"].bound[1, 3], INF)


def test_hole_at_the_target() -> None:
    """An infinite loss; its gradient is softmax less one-hot, but is not judged."""
    c = make((((1, 1), -INF),), reduction="none")
    found = ask(c)
    assert exactly(found.value.value[1], INF)
    assert exactly(found.value.bound[1], 0.0)
    assert bool(found.grads["input"].value.isfinite().all())
    assert exactly(found.grads["input"].bound[1], INF)
    assert exactly(ask(make((((1, 1), -INF),))).value.value, INF)
    free = ask(make((((1, 1), -INF),), weight=(1.0, 0.0, 1.0, 1.0), reduction="none"))
    assert exactly(free.value.bound[1], INF)  # zero weight times infinity


def test_weights_that_sum_to_zero() -> None:
    nothing = ask(make(weight=(1.0, 0.0, 1.0, 1.0)))
    assert exactly(nothing.value.value, NAN)
    assert exactly(nothing.value.bound, 0.0)
    assert exactly(nothing.grads["input"].bound, INF)
    smoothed = ask(make(weight=(1.0, 0.0, 1.0, 1.0), label_smoothing=0.5))
    assert exactly(smoothed.value.bound, INF)  # infinite, or NaN of who divides twice
    target = TensorRecipe(
        "levels", (3,), "int64", modulus=4, edits=(((0,), 0), ((1,), 1), ((2,), 2))
    )
    both = ask(make(target=target, weight=(1.0, -1.0, 0.0, 1.0)))
    assert exactly(both.value.bound, INF)


def test_overflow_of_the_output_or_an_intermediate_is_not_judged() -> None:
    far = (((None, 1), -60000.0),)
    total = ask(make(far, dtype="float16", reduction="sum"), "fp32_inside")
    assert exactly(total.value.bound, INF)
    inside = ask(make(far, dtype="float16"), "fp32_inside")
    assert bool(inside.value.bound.isfinite())
    eager = ask(make(far, dtype="float16"), "input_dtype")
    assert exactly(eager.value.bound, INF)
    ordinary = ask(make(dtype="float16", shape=(1, 4)), "input_dtype")
    assert bool(ordinary.value.bound.isfinite())


def test_maxima_beyond_the_core_are_not_judged() -> None:
    """Lowest finite numbers as masks are ordinary; huge maxima leave no digit."""
    lowest = torch.finfo(torch.float32).min
    assert bool(ask(make((((None, 3), lowest),))).value.bound < 1e-4)
    assert bool((ask(make((((None, 3), lowest),))).grads["input"].bound < 1e-4).all())
    assert exactly(ask(make((((None, 3), 2.0**21),))).value.bound, INF)


def test_targets_and_weights_of_other_dtypes() -> None:
    target = TensorRecipe("constant", (3,), "uint8", offset=1.0)
    assert ask(make(target=target)).value.value == ask(make()).value.value
    q = TensorRecipe("simplex", (3, 4), "float64", modulus=60, grad=True)
    found = ask(make(target=q, dtype="bfloat16"))
    # the gradient in the float64 probabilities is not rounded to bfloat16
    assert set(found.grads) == {"input", "target"}


def test_unbatched_and_spatial_shapes() -> None:
    scalar = ask(make(shape=(4,), target=TensorRecipe("constant", (), "int64"), reduction="none"))
    assert scalar.value.value.shape == ()
    assert scalar.grads["input"].value.shape == (4,)
    spatial = ask(make(shape=(2, 4, 3, 2), reduction="none"))
    assert spatial.value.value.shape == (2, 3, 2)
    assert spatial.grads["input"].value.shape == (2, 4, 3, 2)


def test_no_upstream_no_gradient() -> None:
    c = make()
    silent = Case(c.family, c.rule, c.recipe, c.options, None, c.dtype, c.device)
    assert ask(silent).grads == {}
