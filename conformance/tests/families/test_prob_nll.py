"""The family ``prob_nll``: exact truth, no alarm for what is right, small faults caught."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance import run
from nll_conformance.declare import Amendments, subject_of
from nll_conformance.families.prob_nll import cases as own
from nll_conformance.families.prob_nll.oracle import truth
from nll_impls import implementations

from .picked_losses import (
    DTYPES,
    Loss,
    axis_of,
    campaign,
    divided_first,
    double,
    drawn,
    gathered,
    in_chunks,
    of,
    one_hot_then_sum,
    same,
    some_rules,
    subject,
    times_reciprocal,
    verdict,
)

BUNDLED = {i.name: i for i in implementations() if i.family == "prob_nll"}
VARIATIONS = (
    own.dyadic,
    own.not_normalised,
    own.near_epsilon,
    own.smallest,
    own.certain,
    own.nearly_certain,
    own.impossible_target,
)


def minus_log(p: Tensor) -> Tensor:
    return -torch.log(p)


def base_two(p: Tensor) -> Tensor:
    return -(torch.log2(p) * math.log(2.0))


def near_one(p: Tensor) -> Tensor:
    """log1p(p - 1) where the difference is exact."""
    upper = p >= 0.5
    return -torch.where(
        upper, torch.log1p(torch.where(upper, p, 1.0) - 1.0), torch.log(torch.where(upper, 1.0, p))
    )


class Reciprocal(torch.autograd.Function):
    """-log p whose backward multiplies by 1/p."""

    @staticmethod
    def forward(ctx, p):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(p)
        return -p.log()

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (p,) = ctx.saved_tensors
        return -upstream * (1.0 / p)


def log_then_gather(x: Tensor, index: Tensor) -> Tensor:
    return gathered(x.log(), index)


def of_p(value=minus_log, **steps) -> Loss:  # type: ignore[no-untyped-def]
    return of(value, blank=1.0, **steps)


VARIANTS: dict[str, tuple[Loss, str]] = {
    "gather then log": (of_p(), "fp32_inside"),
    "own dtype": (of_p(cast=same), "input_dtype"),
    "float64": (of_p(cast=double), "fp32_inside"),
    "chunked": (of_p(mean=in_chunks), "fp32_inside"),
    "base two": (of_p(base_two), "fp32_inside"),
    "log1p near one": (of_p(near_one), "fp32_inside"),
    "reciprocal gradient": (of_p(Reciprocal.apply), "fp32_inside"),
    "divided first": (of_p(mean=divided_first), "fp32_inside"),
    "reciprocal mean": (of_p(mean=times_reciprocal), "fp32_inside"),
    "one-hot": (of_p(pick=one_hot_then_sum), "fp32_inside"),
}  # fmt: skip

#: Their gradient at a probability of 0 in a row that does not count is 0/0.
LOG_FIRST: dict[str, tuple[Loss, str]] = {
    "log then gather": (of(torch.neg, pick=log_then_gather), "fp32_inside"),
    "own dtype, log first": (of(torch.neg, pick=log_then_gather, cast=same), "input_dtype"),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_stay_inside(dtype: str) -> None:
    compared, worst, alarms = campaign(VARIANTS, "prob_nll", dtype, 30, VARIATIONS)
    assert not alarms, alarms[:3]
    assert compared >= 2 * 30 * len(VARIANTS)
    assert max(worst.values()) <= 1
    positive = tuple(v for v in VARIATIONS if v is not own.impossible_target)
    _, _, alarms = campaign(LOG_FIRST, "prob_nll", dtype, 30, positive)
    assert not alarms, alarms[:3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_oracle_against_mpmath(dtype: str) -> None:
    of_loss = subject(VARIANTS["gather then log"][0], "prob_nll")
    judged = 0
    with mpmath.workprec(200):
        for number in range(90):
            case = drawn(of_loss, dtype, f"exact {number}", VARIATIONS)
            tensors = case.build()
            p = tensors["input"].detach().double()
            p = p.movedim(axis_of(p), -1)
            p, t = p.reshape(-1, p.shape[-1]), tensors["target"].reshape(-1)
            keep = t != case.option("ignore_index", -100)
            if "mask" in tensors:
                keep &= tensors["mask"].reshape(-1)
            if case.reduction != "none" or not bool(keep.any()):
                continue
            exact = truth(
                case,
                tensors,
                precision="fp32_inside",
                output_dtype=getattr(torch, dtype),
                divergences={},
            )
            assert case.upstream is not None
            from nll_conformance.recipes import build

            upstream = build(case.upstream).double().reshape(-1)
            grad = exact.grads["input"]
            slope = grad.value.movedim(axis_of(tensors["input"]), -1).reshape(p.shape)
            bound = grad.bound.movedim(axis_of(tensors["input"]), -1).reshape(p.shape)
            for i in range(len(t)):
                got = float(exact.value.value.flatten()[i])
                if not keep[i] or float(p[i, t[i]]) == 0.0:
                    assert got == 0.0 or math.isinf(got)
                    continue
                q = mpmath.mpf(float(p[i, t[i]]))
                w = mpmath.mpf(float(tensors["weight"][t[i]]) if "weight" in tensors else 1)
                true = -w * mpmath.log(q)
                assert abs(got - true) <= 2.0**-51 * abs(true)
                down = -w * mpmath.mpf(float(upstream[i])) / q
                if math.isfinite(float(bound[i, t[i]])):
                    assert abs(float(slope[i, t[i]]) - down) <= 2.0**-50 * abs(down)
                judged += 1
    assert judged > 15


def test_what_is_exact() -> None:
    """A certain target costs exactly 0, an impossible one infinity; nothing is NaN."""
    of_loss = subject(VARIANTS["gather then log"][0], "prob_nll")
    for number in range(20):
        case = drawn(of_loss, "float32", f"certain {number}", (own.certain,))
        exact = truth(
            case, case.build(), precision="fp32_inside", output_dtype=torch.float32, divergences={}
        )
        assert not exact.value.bound.isnan().any()
        assert not exact.grads["input"].bound.isnan().any()


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_conform(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run.CASES, "quick", 4)
    excused = {e.rule for e in BUNDLED[name].expected}
    part = sorted(BUNDLED).index(name)
    dtype = DTYPES[part]
    results = list(some_rules(subject_of(BUNDLED[name], name, Amendments()), dtype, part))
    bad = {r.rule: r.message for r in results if r.outcome not in ("pass", "unsupported")}
    assert set(bad) <= excused, bad
    assert len(results) > 30


# --- faults -------------------------------------------------------------------------------


def with_epsilon(epsilon: float) -> Loss:
    return of_p(lambda p: -torch.log(p + epsilon))


def clamped(low: float, high: float = 1.0) -> Loss:
    return of_p(lambda p: -torch.log(p.clamp(low, high)))


def textbook(x: Tensor, index: Tensor) -> Tensor:
    """sum_j q_j log p_j."""
    hot = torch.zeros_like(x).scatter(axis_of(x), index.unsqueeze(axis_of(x)), 1.0)
    return (hot * x.log()).sum(axis_of(x))


def normalised(x: Tensor) -> Tensor:
    return x / x.sum(axis_of(x), keepdim=True)


def masked_product(kept: Tensor, loss: Tensor) -> Tensor:
    return kept * loss


FAULTS: dict[str, tuple[Loss, str, str]] = {
    "epsilon 1e-8": (with_epsilon(1e-8), "prob_nll.no_epsilon", "float32"),
    "epsilon 1e-12": (with_epsilon(1e-12), "prob_nll.no_epsilon", "bfloat16"),
    "epsilon 1e-20": (with_epsilon(1e-20), "prob_nll.tiny_probabilities", "float64"),
    "epsilon 1e-7 at one": (with_epsilon(1e-7), "prob_nll.certain_target", "float32"),
    "epsilon 1e-4": (with_epsilon(1e-4), "prob_nll.row_loss", "float32"),
    "clamp 1e-7": (clamped(1e-7), "prob_nll.no_epsilon", "float32"),
    "clamp to the smallest of float32": (
        clamped(2.0**-126), "prob_nll.tiny_probabilities", "float64"),
    "clamp below one": (clamped(0.0, 1 - 1e-7), "prob_nll.certain_target", "float32"),
    "clamp below one, float64": (
        clamped(0.0, 1 - 1e-7), "prob_nll.nearly_certain_target", "float64"),
    "log clamped at -100": (
        of_p(lambda p: -p.log().clamp_min(-100)), "prob_nll.infinite_loss", "float32"),
    "nan_to_num": (of_p(lambda p: -p.log().nan_to_num()), "prob_nll.infinite_loss", "float32"),
    "one-hot times log 0": (of(torch.neg, pick=textbook), "prob_nll.zero_elsewhere", "float32"),
    "0/0 in the gradient": (
        of(torch.neg, pick=log_then_gather), "prob_nll.zero_elsewhere_gradient", "float32"),
    "base 2": (of_p(lambda p: -p.log2()), "prob_nll.row_loss", "float32"),
    "base 10": (of_p(lambda p: -p.log10()), "prob_nll.row_loss", "float16"),
    "no logarithm": (of_p(torch.neg), "values.plain_mean", "float32"),
    "1 - p": (of_p(lambda p: 1 - p), "values.plain_mean", "float32"),
    "softmax first": (
        of_p(before=lambda x: x.softmax(axis_of(x))), "values.plain_mean", "float32"),
    "divided by the sum": (of_p(before=normalised), "prob_nll.not_normalised_again", "float32"),
    "gradient of the sum": (
        of_p(before=normalised), "prob_nll.gradient_at_target_alone", "float32"),
    "log1p(p - 1)": (of_p(lambda p: -torch.log1p(p - 1)), "prob_nll.no_epsilon", "float32"),
    "log in bfloat16": (
        of_p(lambda p: -p.bfloat16().log().to(p.dtype)), "prob_nll.row_loss", "float32"),
    "p in float16": (
        of_p(cast=lambda x: x.half().float()), "prob_nll.tiny_probabilities", "bfloat16"),
    "masked by a product": (
        of(minus_log, blank=0.0, leave_out=masked_product), "ignore_index.default", "float32"),
    "mean of everything": (
        of_p(count=lambda kept, w: torch.tensor(kept.numel())), "mask.rows", "float32"),
    "weight inside the log": (
        of_p(lambda p: p, weigh=lambda p, w: -(p * w).log()), "weight.rows", "float32"),
    "focal": (of_p(lambda p: -((1 - p) ** 2) * p.log()), "prob_nll.row_loss", "float32"),
    "other classes added": (
        of_p(pick=lambda x, i: gathered(x, i) - 0 * x.sum(axis_of(x)),
             before=lambda x: x + 1e-3 * (x.mean() - x.mean().detach())),
        "prob_nll.gradient_at_target_alone", "float32"),
    "gradient clipped": (
        of_p(lambda p: -p.clamp_min(2.0**-60).log() + (p.log().detach() * -1
             + p.clamp_min(2.0**-60).log().detach())),
        "prob_nll.tiny_probabilities", "float32"),
    "one class costs nothing": (
        of_p(before=lambda x: x * 0 + 1 if x.shape[axis_of(x)] == 1 else x),
        "prob_nll.one_class_only", "float32"),
    "index in int8": (
        of_p(pick=lambda x, i: gathered(x, i.to(torch.int8).long() % x.shape[axis_of(x)])),
        "prob_nll.every_target_class", "float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught_by(name: str) -> None:
    loss, rule, dtype = FAULTS[name]
    if "mask" in rule:
        assert "mask" in subject(loss, "prob_nll").capabilities
    result = verdict(loss, "prob_nll", rule, dtype, "fp32_inside")
    assert result.outcome == "fail", result
    right = verdict(VARIANTS["gather then log"][0], "prob_nll", rule, dtype, "fp32_inside")
    assert right.outcome == "pass", right


def test_torch_pair_is_wrong_only_where_it_says() -> None:
    """``F.nll_loss(torch.log(p))`` has NaN gradients beside impossible classes."""
    p = torch.tensor([[0.5, 0.5, 0.0]], requires_grad=True)
    F.nll_loss(p.log(), torch.tensor([0])).backward()
    assert p.grad is not None
    assert p.grad[0, 2].isnan() and p.grad[0, 0] == -2.0
