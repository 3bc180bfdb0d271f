"""The Poisson family: its oracle is exact, correct losses pass, faulty ones are named."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import pytest
import torch
import torch.nn.functional as F

from nll_conformance.families.poisson_nll.oracle import truth
from nll_conformance.model import Case
from nll_conformance.recipes import TensorRecipe

from .elementwise_losses import POISSON, stirling
from .judging import DTYPES, excerpt, failures, subject

Tensor = torch.Tensor


# --- the oracle ---------------------------------------------------------------------------


def exact(x, y, log_input, full, eps):
    """Loss and derivatives of one element with 60 digits."""
    with mpmath.workdps(60):
        x, y, eps = mpmath.mpf(x), mpmath.mpf(y), mpmath.mpf(eps)
        z = mpmath.exp(x) if log_input else x + eps
        log = x if log_input else mpmath.log(z)
        loss, by_x, by_y = (z if log_input else x) - y * log, z - y, -log
        if not log_input:
            by_x = 1 - y / z
        if full and y > 1:
            loss += y * mpmath.log(y) - y + mpmath.log(2 * mpmath.pi * y) / 2
            by_y += mpmath.log(y) + 1 / (2 * y)
        return loss, by_x, by_y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_input", [True, False])
def test_oracle_is_within_a_thousandth_of_its_own_bound(dtype, log_input):
    x = TensorRecipe("levels", (9,), dtype, -2, 0.25, seed=4, modulus=20, grad=True)
    y = TensorRecipe("levels", (9,), dtype, -1, 0.0, seed=6, modulus=9, grad=True)
    options = (("log_input", log_input), ("full", True), ("eps", 0.125), ("reduction", "none"))
    upstream = TensorRecipe("constant", (9,), dtype, offset=1.0)
    made = Case("poisson_nll", "t", (("input", x), ("target", y)), options, upstream, dtype, "cpu")
    got = truth(
        made,
        made.build(),
        precision="fp32_inside",
        output_dtype=getattr(torch, dtype),
        divergences={},
    )
    share = 1e-3 if dtype != "float64" else 0.6  # float64 is its own oracle
    tensors = {name: t.detach().double() for name, t in made.build().items()}
    for i in range(9):
        numbers = float(tensors["input"][i]), float(tensors["target"][i])
        wants = exact(*numbers, log_input, True, 0.125)
        for want, part in zip(
            wants, (got.value, got.grads["input"], got.grads["target"]), strict=True
        ):
            off = abs(want - mpmath.mpf(float(part.value[i])))
            assert off <= share * float(part.bound[i])


# --- no false alarm -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_keep_the_bound(dtype):
    assert not excerpt(POISSON, "poisson_nll", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_fails_only_what_is_known(dtype):
    known = {"poisson_nll.full_target_gradient_at_zero"}
    if dtype == "float16":
        known.add("poisson_nll.zero_rate")
    own = ("zero_rate", "full_target_gradient_at_zero", "full_target_gradient", "rate", "stirling")
    found = failures(
        subject(torch.nn.PoissonNLLLoss, "poisson_nll", "input_dtype"),
        dtype,
        rules=tuple(f"poisson_nll.{name}" for name in own),
    )
    assert set(found) == known


# --- faults -------------------------------------------------------------------------------


def gated(losses: Tensor, y: Tensor, term: Tensor) -> Tensor:
    return losses + torch.where(y > 1, term, 0.0)


def faulty(
    log_rate: Callable[[Tensor, Tensor, float], Tensor] = lambda x, y, eps: x.exp() - y * x,
    rate: Callable[[Tensor, Tensor, float], Tensor] = lambda x, y, eps: x - y * (x + eps).log(),
    *,
    term: Callable[[Tensor], Tensor] = stirling,
    gate: Callable[[Tensor, Tensor, Tensor], Tensor] = gated,
    ignores: str = "",
):
    """A Poisson loss with one step replaced."""

    def loss(
        input, target, log_input=True, full=False, eps=1e-8, reduction="mean", size_average=None
    ):
        logarithmic = log_input or ignores == "log_input"
        losses = (log_rate if logarithmic else rate)(input, target, eps)
        if full and ignores != "full":
            losses = gate(losses, target, term(target))
        if size_average is False and ignores != "size_average":
            reduction = "sum"
        if reduction == "none" and ignores != "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.mean()

    return loss


class NoTarget(torch.autograd.Function):
    """The backward forgets the target."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x)
        return x.exp() - y * x

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream * x.exp(), None


def all_or_nothing(losses: Tensor, y: Tensor, term: Tensor) -> Tensor:
    return losses + term.nan_to_num() if bool((y > 1).any()) else losses


FAULTS = {
    "no eps": (faulty(rate=lambda x, y, eps: x - y * x.log()), "zero_rate"),
    "eps outside as well": (
        faulty(rate=lambda x, y, eps: x + eps - y * (x + eps).log()),
        "eps_in_logarithm",
    ),
    "eps outside the logarithm": (
        faulty(rate=lambda x, y, eps: x - y * (x.log() + eps)),
        "eps_in_logarithm",
    ),
    "eps as a floor": (
        faulty(rate=lambda x, y, eps: x - y * x.clamp(min=eps).log()),
        "eps_in_logarithm",
    ),
    "eps for log rates": (
        faulty(lambda x, y, eps: x.exp() - y * (x.exp() + eps).log()),
        "no_eps_for_log_rates",
    ),
    "another default of eps": (
        faulty(rate=lambda x, y, eps: x - y * (x + (1e-6 if eps == 1e-8 else eps)).log()),
        "zero_rate",
    ),
    "log_input ignored": (faulty(ignores="log_input"), "rate"),
    "rate without its own term": (faulty(rate=lambda x, y, eps: -y * (x + eps).log()), "rate"),
    "log rate taken for a rate": (faulty(lambda x, y, eps: x - y * x), "log_rate"),
    "sign of the product": (faulty(lambda x, y, eps: x.exp() + y * x), "log_rate"),
    "exponent limited": (
        faulty(lambda x, y, eps: x.clamp(max=15.0).exp() - y * x),
        "extreme_log_rate",
    ),
    "exponent limited below": (
        faulty(lambda x, y, eps: x.exp() - y * x.clamp(min=-30.0)),
        "extreme_log_rate",
    ),
    "small rates lifted": (
        faulty(rate=lambda x, y, eps: x - y * x.clamp(min=0.01).log()),
        "extreme_rate",
    ),
    "backward forgets the target": (
        faulty(lambda x, y, eps: NoTarget.apply(x, y)),
        "log_rate_gradient",
    ),
    "whole counts": (faulty(lambda x, y, eps: x.exp() - y.round() * x), "any_counts"),
    "log likelihood of zero counts dropped": (
        faulty(lambda x, y, eps: torch.where(y > 0, x.exp() - y * x, 0.0)),
        "zero_counts",
    ),
    "full ignored": (faulty(ignores="full"), "stirling"),
    "log gamma for Stirling": (faulty(term=lambda y: torch.lgamma(y + 1)), "stirling"),
    "root without the target": (
        faulty(term=lambda y: y * y.log() - y + 0.5 * math.log(2 * math.pi)),
        "stirling",
    ),
    "gate on the term": (
        faulty(gate=lambda losses, y, term: losses + torch.where(term > 1, term, 0.0)),
        "stirling",
    ),
    "gate from 1 on": (
        faulty(gate=lambda losses, y, term: losses + torch.where(y >= 1, term, 0.0)),
        "no_stirling_up_to_one",
    ),
    "no gate": (faulty(gate=lambda losses, y, term: losses + term), "no_stirling_up_to_one"),
    "one gate for all": (faulty(gate=all_or_nothing), "full"),
    "none ignored": (faulty(ignores="none"), "elementwise.none"),
    "size_average ignored": (faulty(ignores="size_average"), "reductions.size_average"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught_by(fault):
    loss, rule = FAULTS[fault]
    rule = rule if "." in rule else f"poisson_nll.{rule}"
    found = failures(subject(loss, "poisson_nll", "fp32_inside"), "float32", rules=(rule,))
    assert found[rule].startswith("fail:"), found


def test_targets_that_need_a_gradient_get_stirlings_too():
    def detached(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
        value = F.poisson_nll_loss(input, target, log_input, False, None, eps, None, reduction)
        more = torch.where(target > 1, stirling(target.clamp(min=1.5)), 0.0).detach() * full
        return value + (more if reduction == "none" else more.mean())

    rule = "poisson_nll.full_target_gradient"
    found = failures(subject(detached, "poisson_nll", "fp32_inside"), "float32", rules=(rule,))
    assert "gradient of target" in found[rule]
