"""Binary cross entropy: its oracle is exact, correct losses pass, faulty ones are named."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import pytest
import torch
import torch.nn.functional as F

from nll_conformance.families.bce_with_logits.oracle import truth
from nll_conformance.model import Case
from nll_conformance.recipes import TensorRecipe

from .elementwise_losses import BCE, softplus
from .judging import DTYPES, excerpt, failures, subject

Tensor = torch.Tensor


# --- the oracle ---------------------------------------------------------------------------


def exact(x, y, w, p):
    """Loss and derivatives of one element with 60 digits."""
    with mpmath.workdps(60):
        x, y, w, p = (mpmath.mpf(number) for number in (x, y, w, p))
        below, above = mpmath.log(1 + mpmath.exp(-x)), mpmath.log(1 + mpmath.exp(x))
        up, down = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
        loss = w * (p * y * below + (1 - y) * above)
        return loss, w * ((1 - y) * up - p * y * down), w * (p * below - above)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0, 2, -6])
def test_oracle_is_within_a_hundredth_of_its_own_bound(dtype, scale):
    def recipe(regime, *facts, **more):
        return TensorRecipe(regime, (3, 3), dtype, *facts, **more)

    tensors = (
        ("input", recipe("scatter", scale, seed=4, grad=True)),
        ("target", recipe("levels", -2, 0.0, seed=6, modulus=5, grad=True)),
        ("weight", recipe("levels", -2, -0.5, seed=7, modulus=9)),
        ("pos_weight", recipe("levels", -2, 0.25, seed=9, modulus=9)),
    )
    upstream = TensorRecipe("constant", (3, 3), dtype, offset=1.0)
    made = Case("bce_with_logits", "t", tensors, (("reduction", "none"),), upstream, dtype, "cpu")
    got = truth(
        made,
        made.build(),
        precision="fp32_inside",
        output_dtype=getattr(torch, dtype),
        divergences={},
    )
    share = 1e-2 if dtype != "float64" else 0.6  # float64 is its own oracle
    flat = [t.detach().double().flatten() for t in made.build().values()]
    parts = got.value, got.grads["input"], got.grads["target"]
    for i, numbers in enumerate(zip(*flat, strict=True)):
        for want, part in zip(exact(*map(float, numbers)), parts, strict=True):
            off = abs(want - mpmath.mpf(float(part.value.flatten()[i])))
            assert off <= share * float(part.bound.flatten()[i])


# --- no false alarm -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_keep_the_bound(dtype):
    assert not excerpt(BCE, "bce_with_logits", dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_passes(dtype):
    own = ("gradient_at_zero", "both_weights", "wrong_prediction", "pos_weight_target_gradient")
    found = failures(
        subject(torch.nn.BCEWithLogitsLoss, "bce_with_logits", "input_dtype"),
        dtype,
        rules=tuple(f"bce_with_logits.{name}" for name in own),
    )
    assert not found


# --- faults -------------------------------------------------------------------------------


def documented(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    return p * y * softplus(-x) + (1 - y) * softplus(x)


def faulty(
    element: Callable[[Tensor, Tensor, Tensor | float], Tensor] = documented,
    *,
    weigh: Callable[[Tensor, Tensor], Tensor] = torch.mul,
    mean: Callable[[Tensor, Tensor | None], Tensor] = lambda losses, w: losses.mean(),
    shape: bool = True,
):
    """A binary cross entropy with one step replaced."""

    def loss(input, target, weight=None, reduction="mean", pos_weight=None):
        if shape and input.shape != target.shape:
            raise ValueError("shapes")
        losses = element(input, target, 1.0 if pos_weight is None else pos_weight)
        if weight is not None:
            losses = weigh(losses, weight)
        if reduction == "none":
            return losses
        return losses.sum() if reduction == "sum" else mean(losses, weight)

    return loss


def on_rows(losses: Tensor, weight: Tensor) -> Tensor:
    """A vector of weights lands on the batch where that fits."""
    if weight.dim() == 1 and losses.dim() > 1 and weight.shape[0] == losses.shape[0]:
        weight = weight.reshape(-1, *[1] * (losses.dim() - 1))
    return losses * weight


def positives_on_rows(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    if isinstance(p, Tensor):
        p = on_rows(torch.ones_like(x), p)
    return documented(x, y, p)


def through_memory(weight: Tensor) -> Tensor:
    """The first numbers of the storage, whatever the strides say."""
    whole = torch.as_strided(weight, (weight.untyped_storage().nbytes() // 4,), (1,), 0)
    return whole[: weight.numel()].view(weight.shape)


def by_weight(losses: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return losses.mean()
    return losses.sum() / weight.expand(losses.shape).sum()


def with_abs(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    below = (-x).clamp(min=0) + (-x.abs()).exp().log1p()
    return (1 - y) * x + (1 + (p - 1) * y) * below


def from_probability(eps: float) -> Callable[..., Tensor]:
    def element(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
        q = x.sigmoid()
        return -(p * y * (q + eps).log() + (1 - y) * (1 - q + eps).log())

    return element


def clipped(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    q = x.sigmoid().clamp(1e-7, 1 - 1e-7)
    return -(p * y * q.log() + (1 - y) * (1 - q).log())


def limited(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
    q = x.sigmoid()
    return -(p * y * q.log().clamp(min=-100) + (1 - y) * (1 - q).log().clamp(min=-100))


class OwnBackward(torch.autograd.Function):
    """A backward that knows nothing of pos_weight."""

    @staticmethod
    def forward(ctx, x, y, p):
        ctx.save_for_backward(x, y)
        return documented(x, y, p)

    @staticmethod
    def backward(ctx, upstream):
        x, y = ctx.saved_tensors
        return upstream * (x.sigmoid() - y), None, None


class Weighing(torch.autograd.Function):
    """The weight is left out of the gradient."""

    @staticmethod
    def forward(_, losses, weight):
        return losses * weight

    @staticmethod
    def backward(_, upstream):
        return upstream, None


FAULTS = {
    "pos_weight on both": (
        faulty(lambda x, y, p: p * documented(x, y, 1.0)),
        "pos_weight",
    ),
    "pos_weight on the negatives": (
        faulty(lambda x, y, p: y * softplus(-x) + p * (1 - y) * softplus(x)),
        "pos_weight",
    ),
    "pos_weight on the rows": (faulty(positives_on_rows), "pos_weight"),
    "pos_weight twice": (faulty(lambda x, y, p: documented(x, y, p * p)), "pos_weight"),
    "pos_weight of whole targets only": (
        faulty(lambda x, y, p: torch.where(y == 1, p * softplus(-x), documented(x, y, 1.0))),
        "pos_weight_of_soft_target",
    ),
    "pos_weight not in backward": (
        faulty(OwnBackward.apply),
        "pos_weight",
    ),
    "weight twice": (faulty(weigh=lambda losses, w: losses * w * w), "weight"),
    "weight on the rows": (faulty(weigh=on_rows), "weight"),
    "weight not in backward": (faulty(weigh=Weighing.apply), "weight"),
    "weight without its sign": (
        faulty(weigh=lambda losses, w: losses * w.abs()),
        "zero_or_negative_weight",
    ),
    "weight read as if contiguous": (
        faulty(weigh=lambda losses, w: losses * through_memory(w)),
        "weight_layout",
    ),
    "weight scaled in place": (
        faulty(weigh=lambda losses, w: losses * (w.mul_(2.0) / 2.0)),
        "weights_unchanged",
    ),
    "mean by weight": (faulty(mean=by_weight), "weighted_mean"),
    "weighted mean of the kept": (
        faulty(mean=lambda losses, w: losses.sum() / losses.count_nonzero()),
        "zero_or_negative_weight",
    ),
    "logarithm of p + eps": (faulty(from_probability(1e-8)), "wrong_prediction"),
    "logarithm of p": (faulty(from_probability(0.0)), "wrong_prediction"),
    "probabilities clipped": (faulty(clipped), "wrong_prediction"),
    "logarithm limited": (faulty(limited), "wrong_prediction"),
    "loss limited": (
        faulty(lambda x, y, p: documented(x, y, p).clamp(max=50.0)),
        "wrong_prediction",
    ),
    "exponential overflows": (
        faulty(lambda x, y, p: x.exp().log1p() - x * y + (p - 1) * y * (-x).exp().log1p()),
        "huge_logits",
    ),
    "kink at zero": (faulty(with_abs), "gradient_at_zero"),
    "targets rounded": (
        faulty(lambda x, y, p: documented(x, (y > 0.5).to(y.dtype), p)),
        "soft_target",
    ),
    "pos_weight with probabilities": (
        faulty(lambda x, y, p: documented(x, y, 1.0) if isinstance(p, float) else clipped(x, y, p)),
        "pos_weight_of_wrong_prediction",
    ),
    "target broadcast": (faulty(shape=False), "target_shape"),
    "sum of the rows' means": (
        faulty(mean=lambda losses, w: losses.sum() / max(losses.shape[:1] or (1,))),
        "elementwise.mean",
    ),
    "target detached": (
        faulty(lambda x, y, p: documented(x, y.detach(), p)),
        "elementwise_gradients.target",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught_by(fault):
    loss, rule = FAULTS[fault]
    rule = rule if "." in rule else f"bce_with_logits.{rule}"
    found = failures(subject(loss, "bce_with_logits", "fp32_inside"), "float32", rules=(rule,))
    assert found[rule].startswith("fail:"), found


def test_softplus_with_its_default_threshold_costs_float64_its_digits():
    loss = faulty(lambda x, y, p: p * y * F.softplus(-x) + (1 - y) * F.softplus(x))
    rule = "bce_with_logits.wrong_prediction"
    found = failures(subject(loss, "bce_with_logits", "fp32_inside"), "float64", rules=(rule,))
    assert found[rule].startswith("fail:")


def test_digits_of_a_right_prediction_lost_in_sixteen_bits():
    def low(x: Tensor, y: Tensor, p: Tensor | float) -> Tensor:
        q = x.sigmoid()
        return -(p * y * q.log() + (1 - y) * (1 - q).log())

    rule = "bce_with_logits.right_prediction"
    found = failures(subject(faulty(low), "bce_with_logits", "rounded_rows"), "bfloat16",
                     rules=(rule,))  # fmt: skip
    assert found[rule].startswith("fail:")
