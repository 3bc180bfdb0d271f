"""The family ``nll``: exact truth, no alarm for what is right, every small fault caught."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance import run
from nll_conformance.declare import Amendments, subject_of
from nll_conformance.families.nll import cases as own
from nll_conformance.families.nll.oracle import truth
from nll_conformance.model import Case
from nll_impls import implementations

from .picked_losses import (
    DTYPES,
    Dice,
    Loss,
    axis_of,
    campaign,
    divided_first,
    double,
    drawn,
    in_chunks,
    of,
    one_hot_then_sum,
    one_hot_times,
    same,
    some_rules,
    subject,
    times_reciprocal,
    verdict,
)

BUNDLED = {i.name: i for i in implementations() if i.family == "nll"}
VARIATIONS = (
    own.any_magnitude,
    own.not_normalised,
    own.positive,
    own.far_below,
    own.impossible_elsewhere,
    own.impossible_target,
)


class Copied(torch.autograd.Function):
    """The row losses of (N, C) log-probabilities with a gradient written by hand."""

    @staticmethod
    def forward(ctx, x, index):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x.gather(1, index.unsqueeze(1)).squeeze(1)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (index,) = ctx.saved_tensors
        grad = upstream.new_zeros(ctx.shape)
        return grad.scatter_add_(1, index.unsqueeze(1), upstream.unsqueeze(1)), None


def copied(x: Tensor, index: Tensor) -> Tensor:
    rows = x.movedim(axis_of(x), -1)
    flat = Copied.apply(rows.reshape(-1, rows.shape[-1]), index.reshape(-1))
    return flat.reshape(index.shape)


def torch_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    mask: Tensor | None = None,
) -> Tensor:
    if mask is not None:
        target = torch.where(mask, target, ignore_index)
    return F.nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)


VARIANTS: dict[str, tuple[Loss, str]] = {
    "torch": (torch_loss, "input_dtype"),
    "gather": (of(torch.neg), "fp32_inside"),
    "own dtype": (of(torch.neg, cast=same), "input_dtype"),
    "one-hot": (of(torch.neg, pick=one_hot_then_sum), "fp32_inside"),
    "float64": (of(torch.neg, cast=double), "fp32_inside"),
    "chunked": (of(torch.neg, mean=in_chunks), "fp32_inside"),
    "divided first": (of(torch.neg, mean=divided_first), "fp32_inside"),
    "reciprocal": (of(torch.neg, mean=times_reciprocal), "fp32_inside"),
    "weight first": (of(torch.neg, weigh=lambda loss, w: -((-w) * loss)), "fp32_inside"),
    "custom gradient": (of(torch.neg, pick=copied), "fp32_inside"),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_stay_inside(dtype: str) -> None:
    compared, worst, alarms = campaign(VARIANTS, "nll", dtype, 30, VARIATIONS)
    assert not alarms, alarms[:3]
    assert compared >= 2 * 30 * len(VARIANTS)
    assert max(worst.values()) <= 1


def fractions(case: Case) -> tuple[list[Fraction], Fraction]:
    """The row losses and their denominator, exactly."""
    tensors = case.build()
    x = tensors["input"].detach().double()
    x = x.movedim(axis_of(x), -1)
    x, t = x.reshape(-1, x.shape[-1]), tensors["target"].reshape(-1)
    keep = t != case.option("ignore_index", -100)
    if "mask" in tensors:
        keep &= tensors["mask"].reshape(-1)
    rows, den = [], Fraction(0)
    for i in range(len(t)):
        w = Fraction(1)
        if "weight" in tensors and keep[i]:
            w = Fraction(float(tensors["weight"][t[i]]))
        rows.append(-w * Fraction(float(x[i, t[i]])) if keep[i] else Fraction(0))
        den += w if keep[i] else 0
    return rows, den


def test_oracle_against_fractions() -> None:
    of_loss = subject(VARIANTS["gather"][0], "nll")
    finite = tuple(v for v in VARIATIONS if v is not own.impossible_target)
    seen = 0
    for number in range(100):
        case = drawn(of_loss, "float32", f"exact {number}", finite)
        rows, den = fractions(case)
        if case.reduction == "mean" and den == 0:
            continue
        exact = truth(
            case,
            case.build(),
            precision="fp32_inside",
            output_dtype=torch.float32,
            divergences={},
        ).value
        want = {
            "none": rows,
            "sum": [sum(rows, Fraction(0))],
            "mean": [sum(rows, Fraction(0)) / (den or 1)],
        }[case.reduction]
        for got, true, bound in zip(
            exact.value.flatten(), want, exact.bound.flatten(), strict=True
        ):
            error = abs(Fraction(float(got)) - true)
            size = sum((abs(row) for row in rows), Fraction(0)) / (abs(den) or 1)
            assert error <= Fraction(2.0**-50) * (size + abs(true)), case
            assert float(bound) == float("inf") or error <= Fraction(float(bound)), case
            seen += 1
    assert seen > 130


def test_unweighted_rows_are_exact_to_the_bit() -> None:
    of_loss = subject(VARIANTS["gather"][0], "nll")
    draft = own.plain(run.context_for(of_loss, "t", "float32", "cpu"), Dice("bits"))
    draft.options["reduction"] = "none"
    case = draft.case()
    exact = truth(
        case, case.build(), precision="rounded_rows", output_dtype=torch.float32, divergences={}
    )
    assert not exact.value.bound.any() and not exact.grads["input"].bound.any()


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_last_backward_still_raises_in_torch(dtype: str) -> None:
    """The known fault is pinned: when PyTorch mends it, the expectation has to go."""
    known = [e for e in BUNDLED["torch_nll_loss"].expected if e.dtype == dtype]
    assert {e.rule for e in known} >= {"layout.spatial_input", "combinations.all_options"}
    assert known[0].case is not None
    case = Case.from_json(known[0].case)
    tensors = case.build()
    assert not tensors["input"].is_contiguous()
    with pytest.raises(RuntimeError, match="contiguous"):
        F.nll_loss(**tensors).backward()


# --- faults -------------------------------------------------------------------------------


def per_sequence(loss: Tensor, den: Tensor) -> Tensor:
    """A mean of each sequence's mean."""
    if loss.dim() < 2:
        return loss.sum() / den
    counts = (loss != 0).flatten(1).sum(1).clamp_min(1)
    return (loss.flatten(1).sum(1) / counts).mean()


def position_weight(loss: Tensor, w: Tensor) -> Tensor:
    return loss * w.flip(0) if w.dim() else loss * w


def half_index(x: Tensor, index: Tensor) -> Tensor:
    index = index.to(torch.float16).long().clamp(max=x.shape[axis_of(x)] - 1)
    return x.gather(axis_of(x), index.unsqueeze(axis_of(x))).squeeze(axis_of(x))


def short_index(x: Tensor, index: Tensor) -> Tensor:
    index = index.to(torch.uint8).long() % x.shape[axis_of(x)]
    return x.gather(axis_of(x), index.unsqueeze(axis_of(x))).squeeze(axis_of(x))


def next_row(x: Tensor, index: Tensor) -> Tensor:
    rows = x.roll(-1, 0) if x.dim() > 1 else x
    return rows.gather(axis_of(x), index.unsqueeze(axis_of(x))).squeeze(axis_of(x))


def last_axis(x: Tensor, index: Tensor) -> Tensor:
    """Classes are looked for in the last dimension where the sizes allow it."""
    if x.dim() == 3 and x.shape[1] == x.shape[2]:
        x = x.movedim(2, 1)
    return x.gather(axis_of(x), index.unsqueeze(axis_of(x))).squeeze(axis_of(x))


def softmax_again(x: Tensor) -> Tensor:
    return x.log_softmax(axis_of(x))


FAULTS: dict[str, tuple[Loss, str, str]] = {
    "logits taken for log-probs": (
        of(torch.neg, before=softmax_again), "nll.not_normalised_again", "float32"),
    "softmax, no logarithm": (
        of(torch.neg, before=lambda x: x.softmax(axis_of(x))), "values.plain_mean", "float32"),
    "one class is softmaxed": (
        of(torch.neg, before=lambda x: x - x if x.shape[axis_of(x)] == 1 else x),
        "nll.one_class_only", "float32"),
    "abs": (of(torch.abs), "nll.positive_entries", "float32"),
    "clamp at 0": (of(lambda x: (-x).clamp_min(0)), "nll.positive_entries", "float64"),
    "clamp at 100": (of(lambda x: (-x).clamp_max(100)), "nll.no_clamp", "float32"),
    "clamp at log 1e-12": (of(lambda x: -x.clamp_min(-27.6)), "nll.no_clamp", "bfloat16"),
    "nan_to_num": (
        of(lambda x: -x.nan_to_num(neginf=-1e4)), "nll.minus_infinity_at_target", "float32"),
    "one-hot times -inf": (
        of(torch.neg, pick=one_hot_times), "nll.minus_infinity_elsewhere", "float32"),
    "one-hot times NaN": (of(torch.neg, pick=one_hot_times), "nll.others_unread", "float64"),
    "through bfloat16": (
        of(torch.neg, cast=lambda x: x.bfloat16().float()), "nll.gathers_exactly", "float32"),
    "through float32": (of(torch.neg, cast=torch.Tensor.float), "nll.gathers_exactly", "float64"),
    "exp and log": (
        of(lambda x: -x.exp().log()), "nll.gathers_exactly", "float32"),
    "index in float16": (
        of(torch.neg, pick=half_index), "nll.every_target_class", "float32"),
    "index in uint8": (of(torch.neg, pick=short_index), "nll.every_target_class", "float16"),
    "row of the neighbour": (of(torch.neg, pick=next_row), "splits.order", "float32"),
    "wrong axis": (of(torch.neg, pick=last_axis), "nll.classes_in_dim_one", "float32"),
    "mask times the loss": (
        of(torch.neg, blank=None, leave_out=lambda kept, loss: kept * loss),
        "ignore_index.nonfinite_loss", "float32"),
    "mean counts all rows": (
        of(torch.neg, count=lambda kept, w: torch.tensor(kept.numel())),
        "ignore_index.default", "float32"),
    "weighted mean counts rows": (
        of(torch.neg, count=lambda kept, w: kept.sum()), "weight.rows", "float32"),
    "weight of another row": (
        of(torch.neg, weigh=position_weight), "weight.rows", "float32"),
    "weight squared": (
        of(torch.neg, weigh=lambda loss, w: loss * w * w), "weight.rows", "bfloat16"),
    "weight's size": (
        of(torch.neg, weigh=lambda loss, w: loss * w.abs()), "weight.negative", "float32"),
    "mean of sequences' means": (
        of(torch.neg, mean=per_sequence), "mask.positions", "float32"),
    "denominator with an epsilon": (
        of(torch.neg, mean=lambda loss, d: loss.sum() / (d + 1e-6)), "reductions.mean", "float64"),
    "gradient through the sign": (
        of(lambda x: -x + (x.relu() - x.relu().detach())), "nll.positive_entries", "float32"),
    "gradient leaks to all classes": (
        of(torch.neg, before=lambda x: x + 1e-3 * (x.mean() - x.mean().detach())),
        "nll.gradient_at_target_alone", "float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught_by(name: str) -> None:
    loss, rule, dtype = FAULTS[name]
    result = verdict(loss, "nll", rule, dtype, "fp32_inside")
    assert result.outcome == "fail", result
    right = verdict(VARIANTS["gather"][0], "nll", rule, dtype, "fp32_inside")
    assert right.outcome == "pass", right
