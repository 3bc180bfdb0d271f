"""The Gaussian family: its oracle is exact, correct losses pass, faulty ones are named."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import pytest
import torch

from nll_conformance.families.gaussian_nll.oracle import truth
from nll_conformance.model import Case
from nll_conformance.recipes import TensorRecipe, build

from .elementwise_losses import GAUSSIAN, lifted, spread
from .judging import DTYPES, excerpt, failures, subject

Tensor = torch.Tensor
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


# --- the oracle ---------------------------------------------------------------------------


def case(dtype: str, var_shape: tuple[int, ...], **options) -> Case:
    shape = (2, 3)
    tensors = (
        ("input", TensorRecipe("scatter", shape, dtype, scale=1, seed=3, grad=True)),
        ("target", TensorRecipe("scatter", shape, dtype, seed=8, grad=True)),
        (
            "var",
            TensorRecipe("levels", var_shape, dtype, -4, 0.0, seed=5, modulus=40, grad=True),
        ),
    )
    upstream = TensorRecipe("scatter", shape, dtype, scale=-1, seed=1)
    return Case("gaussian_nll", "t", tensors, tuple(options.items()), upstream, dtype, "cpu")


def exact(x, y, var, eps, full):
    """Loss and derivatives of one element with 60 digits."""
    with mpmath.workdps(60):
        v = mpmath.mpf(max(var, eps))
        r = mpmath.mpf(x) - mpmath.mpf(y)
        loss = (mpmath.log(v) + r * r / v) / 2 + full * mpmath.log(2 * mpmath.pi) / 2
        return loss, r / v, -r / v, (1 / v - r * r / v**2) / 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("var_shape", [(2, 3), (2, 1), (2,), (1, 3)])
def test_oracle_is_within_a_thousandth_of_its_own_bound(dtype, var_shape):
    made = case(dtype, var_shape, reduction="none", full=True, eps=0.25)
    got = truth(
        made,
        made.build(),
        precision="fp32_inside",
        output_dtype=getattr(torch, dtype),
        divergences={},
    )
    tensors = {name: t.detach().double() for name, t in made.build().items()}
    upstream = build(made.upstream).double()
    var = tensors["var"].reshape((2, 1) if var_shape == (2,) else var_shape).expand(2, 3)
    slopes = {name: torch.zeros(2, 3, dtype=torch.float64) for name in tensors}
    share = 1e-3 if dtype != "float64" else 0.6  # float64 is its own oracle
    for i in range(2):
        for j in range(3):
            numbers = [float(t[i, j]) for t in (tensors["input"], tensors["target"], var)]
            loss, *by = exact(*numbers, 0.25, True)
            off = abs(loss - mpmath.mpf(float(got.value.value[i, j])))
            assert off <= share * float(got.value.bound[i, j])
            for name, slope in zip(slopes, by, strict=True):
                slopes[name][i, j] = float(slope * mpmath.mpf(float(upstream[i, j])))
    for name, slope in slopes.items():
        want = slope if name != "var" else slope.sum_to_size(
            (2, 1) if var_shape == (2,) else var_shape
        ).reshape(var_shape)  # fmt: skip
        off = (got.grads[name].value - want).abs()
        assert bool((off <= share * got.grads[name].bound).all()), name


# --- no false alarm -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_keep_the_bound(dtype):
    assert not excerpt(GAUSSIAN, "gaussian_nll", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_fails_only_what_is_known(dtype):
    found = failures(
        subject(torch.nn.GaussianNLLLoss, "gaussian_nll", "input_dtype"),
        dtype,
        rules=OWN_RULES,
    )
    assert set(found) == {"gaussian_nll.unit_dimensions"}


OWN_RULES = (
    "gaussian_nll.unit_dimensions",
    "gaussian_nll.default_floor",
    "gaussian_nll.large_quotient",
    "gaussian_nll.one_unit_dimension",
    "gaussian_nll.scalar_variance",
    "gaussian_nll.negative_variance",
    "gaussian_nll.variance_shape",
)


# --- faults -------------------------------------------------------------------------------


def halves(r: Tensor, v: Tensor) -> Tensor:
    return 0.5 * (v.log() + r * r / v)


def faulty(
    element: Callable[[Tensor, Tensor], Tensor] = halves,
    *,
    floor: Callable[[Tensor, float], Tensor] = lifted,
    beside: Callable[[Tensor, Tensor], Tensor] = spread,
    constant: float = HALF_LOG_2PI,
    reduce: Callable[[Tensor, str], Tensor] | None = None,
):
    """A Gaussian loss with one step replaced."""

    def loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
        losses = element(input - target, floor(beside(input, var), eps))
        losses = losses + (constant if full else 0.0)
        if reduce is not None:
            return reduce(losses, reduction)
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else losses.mean()

    return loss


def batch_mean(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.sum() / max(losses.shape[0] if losses.dim() else 1, 1)
    return losses if reduction == "none" else losses.sum()


def summed_features(losses: Tensor, reduction: str) -> Tensor:
    rows = losses.reshape(losses.shape[0], -1).sum(1)
    return rows if reduction == "none" else rows.sum() if reduction == "sum" else rows.mean()


def in_place(var: Tensor, eps: float) -> Tensor:
    with torch.no_grad():
        return var.clamp_(min=eps)


def only_in_logarithm(input, target, var, full=False, eps=1e-6, reduction="mean"):
    v = spread(input, var)
    losses = 0.5 * (lifted(v, eps).log() + (input - target) ** 2 / v) + full * HALF_LOG_2PI
    return batch_mean(losses, reduction) if reduction != "mean" else losses.mean()


def only_in_quotient(input, target, var, full=False, eps=1e-6, reduction="mean"):
    v = spread(input, var)
    losses = 0.5 * (v.log() + (input - target) ** 2 / lifted(v, eps)) + full * HALF_LOG_2PI
    return batch_mean(losses, reduction) if reduction != "mean" else losses.mean()


def constant_after_reduction(input, target, var, full=False, eps=1e-6, reduction="mean"):
    value = faulty()(input, target, var, False, eps, reduction)
    return value + full * HALF_LOG_2PI


def multiplied_out(input, target, var, full=False, eps=1e-6, reduction="mean"):
    v = lifted(spread(input, var), eps)
    square = input * input - 2 * input * target + target * target
    losses = 0.5 * (v.log() + square / v) + full * HALF_LOG_2PI
    return batch_mean(losses, reduction) if reduction != "mean" else losses.mean()


def detached_target(input, target, var, full=False, eps=1e-6, reduction="mean"):
    return faulty()(input, target.detach(), var, full, eps, reduction)


def to_the_right(input: Tensor, var: Tensor) -> Tensor:
    """Ordinary broadcasting: the variance of the rows lands on the columns."""
    return var if var.dim() == input.dim() or var.shape[-1:] == input.shape[-1:] else spread(
        input, var
    )  # fmt: skip


class MeanGradient(torch.autograd.Function):
    """The gradient of a shared variance is averaged."""

    @staticmethod
    def forward(ctx, var, shape):
        ctx.own = var.shape
        return var.expand(shape).clone()

    @staticmethod
    def backward(ctx, upstream):
        total = upstream.sum_to_size(ctx.own)
        return total * total.numel() / max(upstream.numel(), 1), None


def averaged(input: Tensor, var: Tensor) -> Tensor:
    return MeanGradient.apply(spread(input, var), input.shape)


FAULTS = {
    "no half": (faulty(lambda r, v: v.log() + r * r / v), "element_loss"),
    "half of the quotient only": (faulty(lambda r, v: v.log() + r * r / v / 2), "element_loss"),
    "var is the deviation": (faulty(lambda r, v: halves(r, v * v)), "element_loss"),
    "root of var": (faulty(lambda r, v: halves(r, v.sqrt())), "element_loss"),
    "no logarithm": (faulty(lambda r, v: 0.5 * r * r / v), "element_loss"),
    "absolute residual": (faulty(lambda r, v: 0.5 * (v.log() + r.abs() / v)), "element_loss"),
    "logarithm clamped": (
        faulty(lambda r, v: 0.5 * (v.log().clamp(min=-5.0) + r * r / v)),
        "large_quotient",
    ),
    "quotient clamped": (
        faulty(lambda r, v: 0.5 * (v.log() + (r * r / v).clamp(max=100.0))),
        "large_quotient",
    ),
    "log(2 pi)": (faulty(constant=math.log(2 * math.pi)), "full_constant"),
    "log(pi) / 2": (faulty(constant=0.5 * math.log(math.pi)), "full_constant"),
    "full ignored": (faulty(constant=0.0), "full_constant"),
    "constant after the reduction": (constant_after_reduction, "full_constant"),
    "eps added": (faulty(floor=lambda v, eps: v + eps), "floor_is_no_addend"),
    "eps ignored": (faulty(floor=lambda v, eps: lifted(v, 1e-6)), "variance_floor"),
    "another default": (
        faulty(floor=lambda v, eps: lifted(v, 1e-8 if eps == 1e-6 else eps)),
        "default_floor",
    ),
    "floor in the logarithm only": (only_in_logarithm, "variance_floor"),
    "floor in the quotient only": (only_in_quotient, "variance_floor"),
    "floor kills the gradient": (
        faulty(floor=lambda v, eps: v.clamp(min=eps)),
        "floor_gradient",
    ),
    "floor in the caller's var": (faulty(floor=in_place), "var_unchanged"),
    "var detached": (faulty(lambda r, v: halves(r, v.detach())), "gradients"),
    "quotient's var detached": (
        faulty(lambda r, v: 0.5 * (v.log() + r * r / v.detach())),
        "gradients",
    ),
    "squares multiplied out": (multiplied_out, "close_prediction"),
    "var of the rows on the columns": (faulty(beside=to_the_right), "without_last_dimension"),
    "gradient of shared var averaged": (faulty(beside=averaged), "last_dimension_one"),
    "negative var accepted": (
        faulty(beside=lambda x, v: spread(x, v.abs()) if isinstance(v, Tensor) else v),
        "negative_variance",
    ),
    "mean over the batch": (faulty(reduce=batch_mean), "elementwise.mean"),
    "features summed": (faulty(reduce=summed_features), "elementwise.none"),
    "target detached": (detached_target, "elementwise_gradients.target"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught_by(fault):
    loss, rule = FAULTS[fault]
    rule = rule if "." in rule else f"gaussian_nll.{rule}"
    found = failures(subject(loss, "gaussian_nll", "fp32_inside"), "float32", rules=(rule,))
    assert found[rule].startswith("fail:"), found
