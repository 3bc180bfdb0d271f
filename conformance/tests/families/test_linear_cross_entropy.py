"""The family ``linear_cross_entropy``: exact truth, no false alarm, every planted fault caught."""

from __future__ import annotations

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.bounds import FORMATS, arithmetic
from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import family, rules_of
from nll_conformance.families.linear_cross_entropy.oracle import truth
from nll_conformance.families.linear_cross_entropy.projection import project
from nll_conformance.model import Case, Precision
from nll_conformance.recipes import build
from nll_conformance.truth import Truth
from nll_impls import implementations

from .linear_losses import Loss, fused
from .rule_cases import drawn, first_finding, one_thread

__all__ = ["one_thread"]

NAME = "linear_cross_entropy"
RULES = rules_of(NAME)
FAMILY = family(NAME)
BUNDLED = {i.name: i for i in implementations() if i.family == NAME}
pytestmark = pytest.mark.usefixtures("one_thread")
LEGAL = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}


def subject(loss: Loss, precision: str = "fp32_inside") -> Subject:
    amendments = Amendments(
        family=NAME, lacks=("soft_target",), declare={"precision": precision, **LEGAL}
    )
    return subject_of(loss, "planted", amendments)


COMPLETE = subject_of(F.linear_cross_entropy, "complete", Amendments(family=NAME))


def exact(case: Case, precision: Precision = "fp32_inside") -> Truth:
    dtype = getattr(torch, case.dtype)
    return truth(case, case.build(), precision=precision, output_dtype=dtype, divergences=LEGAL)


@pytest.mark.parametrize(
    "rule",
    [
        f"{NAME}.every_option",
        f"{NAME}.bias_with_probabilities",
        f"{NAME}.frozen_head",
        f"{NAME}.wide_hidden_states",
        "label_smoothing.with_weight",
        "shapes.unbatched_sample",
        "soft_target.target_gradient",
    ],
)
def test_oracle_agrees_with_autograd_in_float64(rule: str) -> None:
    for case in drawn(COMPLETE, rule, "float64"):
        tensors = case.build()
        inner = {n: t.detach().clone().requires_grad_(t.requires_grad) for n, t in tensors.items()}
        hidden, head, target = (inner.pop(n) for n in FAMILY.positional)
        logits = hidden @ head.T + inner.pop("linear_bias", 0.0)
        value = F.cross_entropy(logits, target, **inner, **dict(case.options))
        assert case.upstream is not None
        value.backward(build(case.upstream).double())
        said = exact(case)
        torch.testing.assert_close(said.value.value, value.detach(), rtol=1e-12, atol=1e-12)
        leaves = {"input": hidden, "linear_weight": head, "target": target}
        for name, found in said.grads.items():
            if name in leaves:
                want = leaves[name].grad
                assert want is not None
                torch.testing.assert_close(found.value, want, rtol=1e-11, atol=1e-12)
        assert set(said.grads) == {n for n, t in tensors.items() if t.requires_grad}


def test_oracle_agrees_with_mpmath() -> None:
    mpmath.mp.prec = 200
    for case in drawn(COMPLETE, f"{NAME}.bias", "float32"):
        built = {n: x.detach().double() for n, x in case.build().items()}
        built["input"] = torch.atleast_2d(built["input"])  # a row may come without a batch
        built["target"] = torch.atleast_1d(built["target"])
        t = {n: x.tolist() for n, x in built.items()}
        rows = []
        for hidden, label in zip(t["input"], t["target"], strict=True):
            z = [
                mpmath.fdot(hidden, row) + bias
                for row, bias in zip(t["linear_weight"], t["linear_bias"], strict=True)
            ]
            rows.append(mpmath.log(mpmath.fsum(map(mpmath.exp, z))) - z[int(label)])
        total = mpmath.fsum(rows)
        want = {"none": rows, "sum": [total], "mean": [total / len(rows)]}[case.reduction]
        for got, right in zip(exact(case).value.value.flatten().tolist(), want, strict=True):
            assert abs(got - right) <= 1e-14 * (1 + abs(right))


def test_logits_of_few_bits_are_exact_in_any_order() -> None:
    how = arithmetic(torch.float32, "fp32_inside")
    hidden = torch.tensor([[1.0, 0.25, -0.75]], dtype=torch.float64)
    head = torch.tensor([[0.5, 1.5, -2.0], [3.0, -0.125, 8.0]], dtype=torch.float64)
    few = project(hidden, head, None, how)
    assert not few.error.any()
    many = project(hidden / 3, head / 7, None, how)
    unit = FORMATS[torch.float32].u
    assert (many.error >= 4 * unit * many.size).all()
    assert (many.error <= 4.1 * unit * many.size + 1e-30).all()


def test_logits_in_16_bits_are_charged_their_actual_rounding() -> None:
    hidden = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    head = torch.tensor([[1.0, 2.0**-9], [1.0, 1.0]], dtype=torch.float64)
    rounded = project(hidden, head, None, arithmetic(torch.bfloat16, "rounded_rows"))
    assert rounded.error.tolist() == [[2.0**-9, 0.0]]
    inside = project(hidden, head, None, arithmetic(torch.bfloat16, "fp32_inside"))
    assert not inside.error.any()


CORRECT: dict[str, tuple[str, Loss]] = {
    "whole": ("fp32_inside", fused()),
    "row by row": ("fp32_inside", fused(rows=1)),
    "blocks of classes": ("fp32_inside", fused(classes=3)),
    "float64 inside": ("fp32_inside", fused(inside="float64")),
    "logits in the input's dtype": ("rounded_rows", fused(logits="own")),
    "sums in the input's dtype": ("input_dtype", fused(logits="own", sums="own", rows=16)),
}
CAMPAIGN = (
    f"{NAME}.every_option",
    f"{NAME}.chunks_of_rows",
    f"{NAME}.wide_hidden_states",
    f"{NAME}.huge_biases",
    "gradients.every_entry",
    "stability.wrong_target_is_linear",
)


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_correct_variants_raise_no_alarm(name: str, dtype: str) -> None:
    precision, loss = CORRECT[name]
    of = subject(loss, precision)
    for rule in CAMPAIGN:
        finding, tally = first_finding(of, rule, dtype, 6)
        assert finding is None, (rule, finding)
        assert tally.judged


#: fault -> the rule that names it, where the fault is planted
FAULTS = {
    "bias_dropped": f"{NAME}.bias",
    "bias_per_block": f"{NAME}.wide_hidden_states",
    "target_without_bias": f"{NAME}.bias",
    "smoothing_dropped": "label_smoothing.rows",
    "smoothing_without_bias": f"{NAME}.bias_with_smoothing",
    "last_chunk_has_no_gradient": f"{NAME}.chunks_of_rows",
    "head_overwritten": f"{NAME}.chunks_of_rows",
    "ignored_rows_reach_head": f"{NAME}.ignored_chunks",
    "upstream_not_on_head": "gradients.upstream_scale",
    "upstream_of_first_row": f"{NAME}.head_gradient",
    "head_waits_for_hidden": f"{NAME}.frozen_hidden_states",
    "hidden_waits_for_head": f"{NAME}.frozen_head",
    "frozen_gets_zero": f"{NAME}.frozen_head",
    "bias_waits_for_head": f"{NAME}.only_the_bias",
    "bias_gradient_mean": f"{NAME}.bias",
    "chunk_means": "reductions.mean_of_any_count",
    "head_transposed": f"{NAME}.cubic",
    "tail_of_head_has_no_gradient": "gradients.every_class",
    "lse_first_block": "values.every_class",
    "counts_ignored": "ignore_index.default",
    "weight_not_in_gradient": "weight.gradient",
    "writes_hidden": f"{NAME}.arguments_unchanged",
    "caches_head": "reuse.second_call",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught_by_the_rule_that_names_it(fault: str) -> None:
    finding, _ = first_finding(subject(fused(fault=fault)), FAULTS[fault])
    assert finding is not None


def test_head_gradient_kept_in_16_bits_is_told_from_float32() -> None:
    low = fused(sums="own", rows=1)
    rule = f"{NAME}.many_rows_of_one_sign"
    for precision in ("fp32_inside", "rounded_rows"):
        finding, _ = first_finding(subject(low, precision), rule, "bfloat16", 8)
        assert finding is not None
    finding, _ = first_finding(subject(fused(logits="own"), "rounded_rows"), rule, "bfloat16", 8)
    assert finding is None


def needs_no_bias_under_autocast(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None
) -> Tensor:
    """The out= variant of a product takes no part in autocast (Liger#305)."""
    low = input.bfloat16() if torch.is_autocast_enabled("cpu") else input
    if linear_bias is None:
        out = low.new_empty(len(input), len(linear_weight))
        with torch.no_grad():
            torch.mm(low, linear_weight.T, out=out)
    return F.cross_entropy(F.linear(input, linear_weight, linear_bias), target)


def counts_one_gradient(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None
) -> Tensor:
    """A head that is the hidden states themselves loses its share of the gradient."""
    if input is linear_weight:
        linear_weight = linear_weight.detach()
    return F.cross_entropy(F.linear(input, linear_weight, linear_bias), target)


def forgets_the_version(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None
) -> Tensor:
    """Backward reads the head as it is then, past autograd's version check."""
    return Unchecked.apply(input, linear_weight, target)


class Unchecked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, w, t):
        ctx.given = (h.detach(), w.detach(), t)
        return F.cross_entropy(h @ w.T, t)

    @staticmethod
    def backward(ctx, upstream):
        h, w, t = ctx.given
        g = (h @ w.T).softmax(1) - F.one_hot(t, len(w))
        g = g / len(t) * upstream
        return g @ w, g.T @ h, None


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        (needs_no_bias_under_autocast, f"{NAME}.autocast"),
        (counts_one_gradient, f"{NAME}.tied"),
        (forgets_the_version, f"{NAME}.head_changed_before_backward"),
    ],
)
def test_faults_nobody_lists(loss: Loss, rule: str) -> None:
    of = subject_of(loss, "planted", Amendments(family=NAME))
    finding, _ = first_finding(of, rule)
    assert finding is not None


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_implementations_are_what_they_declare(name: str) -> None:
    of = subject_of(BUNDLED[name], name, Amendments())
    known = {(e.rule, e.dtype) for e in BUNDLED[name].expected}
    for rule in (f"{NAME}.every_option", f"{NAME}.bias", "ignore_index.all_ignored_mean"):
        for dtype in ("float32", "bfloat16"):
            expected = bool({(rule, None), (rule, dtype)} & known)
            finding, _ = first_finding(of, rule, dtype)
            assert (finding is not None) == expected, (rule, finding)
