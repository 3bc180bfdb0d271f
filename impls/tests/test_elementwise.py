"""Element-wise losses by hand against PyTorch's in float64, and what they refuse."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_impls import implementations

BY_HAND = {i.name: i.load() for i in implementations() if i.name.endswith(("by_hand", "softplus"))}
SHAPES = [(), (1,), (5,), (4, 3), (3, 3), (2, 3, 4), (2, 0)]
REDUCTIONS = ("none", "mean", "sum")


def numbers(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def same(ours, theirs, *tensors: Tensor) -> None:
    """Value and gradients of two losses of the same tensors agree."""
    results = []
    for loss in (ours, theirs):
        fresh = [t.clone().requires_grad_() for t in tensors]
        value = loss(*fresh)
        results.append((value, *torch.autograd.grad(value.sum(), fresh, allow_unused=True)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gaussian(shape, reduction):
    x, y, var = numbers(shape, 1), numbers(shape, 2), numbers(shape, 3).square()
    for name, full, eps in itertools.product(
        ("gaussian_by_hand", "gaussian_homoscedastic_by_hand"), (False, True), (1e-6, 0.3)
    ):
        options = {"full": full, "eps": eps, "reduction": reduction}
        same(
            lambda *t, loss=BY_HAND[name], o=options: loss(*t, **o),
            lambda *t, o=options: F.gaussian_nll_loss(*t, **o),
            x,
            y,
            var,
        )


@pytest.mark.parametrize("var_shape", [(3, 1), (3,), (1, 3), (3, 3)])
def test_shared_variance(var_shape):
    loss = BY_HAND["gaussian_homoscedastic_by_hand"]
    tensors = numbers((3, 3), 1), numbers((3, 3), 2), numbers(var_shape, 3).square()
    same(loss, F.gaussian_nll_loss, *tensors)
    assert loss(*tensors[:2], 0.5) == F.gaussian_nll_loss(*tensors[:2], 0.5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_poisson(shape, reduction):
    counts = numbers(shape, 2).abs().mul(3).round() + 0.5  # above and below 1, never 0
    for log_input, full, eps in itertools.product((True, False), (True, False), (1e-8, 0.3)):
        options = {"log_input": log_input, "full": full, "eps": eps, "reduction": reduction}
        same(
            lambda *t, o=options: BY_HAND["poisson_by_hand"](*t, **o),
            lambda *t, o=options: F.poisson_nll_loss(*t, **o),
            numbers(shape, 1).abs() + 0.1,
            counts,
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bce(shape, reduction):
    x, y = 8 * numbers(shape, 1), numbers(shape, 2).sigmoid()
    weights = (None, numbers(shape[-1:], 3), numbers(shape, 4).abs())
    for weight, pos_weight in itertools.product(weights, weights):
        options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
        same(
            lambda *t, o=options: BY_HAND["bce_softplus"](*t, **o),
            lambda *t, o=options: F.binary_cross_entropy_with_logits(*t, **o),
            x,
            y,
        )


def test_bce_gradient_at_zero():
    x = torch.zeros(2, requires_grad=True)
    BY_HAND["bce_softplus"](x, torch.tensor([0.0, 1.0]), reduction="sum").backward()
    assert x.grad.tolist() == [0.5, -0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", BY_HAND)
def test_computes_wide_and_returns_the_inputs_dtype(name, dtype):
    x, y = numbers((7,), 1, dtype), numbers((7,), 2, dtype).abs()
    tensors = (x, y, y + 1) if name.startswith("gaussian") else (x, y)
    value = BY_HAND[name](*tensors)
    assert value.dtype == dtype
    wide = BY_HAND[name](*(t.float() for t in tensors))
    assert value == wide.to(dtype)


def test_finite_gradient_for_a_count_of_zero():
    y = torch.zeros(1, requires_grad=True)
    BY_HAND["poisson_by_hand"](torch.ones(1), y, full=True).backward()
    assert y.grad.item() == -1.0


@pytest.mark.parametrize("name", BY_HAND)
def test_refuses_an_unknown_reduction(name):
    ones = (torch.ones(2),) * (3 if name.startswith("gaussian") else 2)
    with pytest.raises(ValueError, match="average"):
        BY_HAND[name](*ones, reduction="average")


@pytest.mark.parametrize("var", [torch.tensor([1.0, -1.0]), torch.ones(3)])
@pytest.mark.parametrize("name", ["gaussian_by_hand", "gaussian_homoscedastic_by_hand"])
def test_refuses_a_variance(name, var):
    with pytest.raises(ValueError, match="var"):
        BY_HAND[name](torch.ones(2), torch.ones(2), var)
