"""Every variant agrees with ``F.cross_entropy``, and its declaration is in the family's words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nll_conformance.declare import Amendments, subject_of
from nll_conformance.discover import rules_of
from nll_conformance.model import Implementation
from nll_impls.variants import slow_variants, variants

QUICK = variants()
ALL = QUICK + slow_variants()
CROSS = [variant for variant in QUICK if variant.family == "cross_entropy"]
WEIGHT = torch.linspace(0.25, 2.0, 5, dtype=torch.float64)


def by_name(implementation: Implementation) -> str:
    return implementation.name


def calls() -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]]:
    """What a call needs, shapes of logits and target, options."""
    yield "", (6, 5), (6,), {}
    yield "ignore_index", (6, 5), (6,), {"ignore_index": 1}
    yield "reduction_sum weight", (6, 5), (6,), {"reduction": "sum", "weight": WEIGHT}
    yield "weight label_smoothing", (6, 5), (6,), {"weight": WEIGHT, "label_smoothing": 0.1}
    yield "spatial reduction_none", (2, 5, 3, 2), (2, 3, 2), {"reduction": "none"}
    yield "unbatched", (5,), (), {}
    yield "soft_target weight", (6, 5), (6, 5), {"weight": WEIGHT}


def arguments(logits: tuple[int, ...], target: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = 3 * torch.randn(logits, generator=generator, dtype=torch.float64)
    if logits == target:
        return x, x.flip(0).softmax(1)
    labels = torch.randint(5, target, generator=generator)
    return x, labels


def seen(loss: Any, x: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, Any]:
    leaf = x.clone().requires_grad_()
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        value = loss(**options)(leaf * 1.0, target)
    else:
        value = loss(leaf * 1.0, target, **options)
    if not value.requires_grad:
        return value, None
    upstream = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), torch.autograd.grad(value, leaf, upstream + 0.5)[0]


@pytest.mark.parametrize("variant", CROSS, ids=by_name)
def test_agrees_with_torch(variant: Implementation) -> None:
    subject = subject_of(variant, variant.name, Amendments())
    loss, asked = variant.load(), 0
    for needs, logits, labels, options in calls():
        if not set(needs.split()) <= subject.capabilities:
            continue
        x, target = arguments(logits, labels)
        value, grad = seen(loss, x, target, options)
        true, true_grad = seen(F.cross_entropy, x, target, {**subject.fixed, **options})
        torch.testing.assert_close(value, true)
        if grad is not None:
            torch.testing.assert_close(grad, true_grad)
        assert (grad is None) == ("gradient" in variant.lacks)
        asked += 1
    assert asked


@pytest.mark.parametrize("variant", CROSS, ids=by_name)
def test_half_precision_rounds_once_where_it_says_so(variant: Implementation) -> None:
    x, target = arguments((6, 5), (6,))
    x = x.bfloat16()
    subject = subject_of(variant, variant.name, Amendments())
    value, _ = seen(variant.load(), x, target, {})
    want, _ = seen(F.cross_entropy, x.double(), target, dict(subject.fixed))
    units = {"fp32_inside": 1.0}.get(variant.precision or "", 4.0)
    assert abs(value.double() - want) <= units * 2.0**-8 * want.abs()
    wide = variant.divergences.get("half_output") == "float32"
    assert value.dtype == (torch.float32 if wide else torch.bfloat16)


def test_there_are_many_and_no_two_of_one_name() -> None:
    names = [variant.name for variant in ALL]
    assert len(names) == len(set(names)) >= 30


@pytest.mark.parametrize("variant", ALL, ids=by_name)
def test_declaration_is_valid(variant: Implementation) -> None:
    assert subject_of(variant, variant.name, Amendments()).capabilities
    assert {e.rule for e in variant.expected} <= set(rules_of(variant.family))
    assert all(e.reason and e.link for e in variant.expected)


@pytest.mark.parametrize("variant", ALL, ids=by_name)
def test_says_what_it_is(variant: Implementation) -> None:
    loss = variant.load()
    if inspect.isfunction(loss):
        assert inspect.getdoc(loss)
