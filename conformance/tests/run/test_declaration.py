"""What a target says of itself is found whatever form the target has."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nll_conformance import implementation
from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.mistakes import looks_like


@implementation(family="cross_entropy", lacks=("soft_target",), precision="fp32_inside")
def declared(input: Tensor, target: Tensor, ignore_index: int = -100, **more: Any) -> Tensor:
    return F.cross_entropy(input, target, ignore_index=ignore_index, **more)


@functools.wraps(declared)
def twice(*args: Any, **options: Any) -> Tensor:
    return 2 * declared(*args, **options)


@implementation(family="linear_cross_entropy", lacks=("soft_target",))
class Head(torch.nn.Module):
    def __init__(self, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(
        self,
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        linear_bias: Tensor | None = None,
    ) -> Tensor:
        return F.linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


def subject(target: Any) -> Subject:
    return subject_of(target, "it", Amendments())


@pytest.mark.parametrize(
    "target",
    [
        declared,
        functools.partial(declared, reduction="sum"),
        functools.partial(functools.partial(declared, reduction="sum"), ignore_index=1),
        Head,
        Head(reduction="sum"),
        twice,
    ],
    ids=["function", "partial", "partial of a partial", "class", "instance", "wrapper"],
)
def test_every_form_of_a_declared_loss_is_declared(target: Any) -> None:
    found = subject(target)
    assert found.declaration == "target"
    assert found.absent["soft_target"] == "declared: lacks soft_target"
    assert found.implementation.load() is target


def test_options_that_the_form_sets_are_fixed() -> None:
    assert subject(functools.partial(declared, reduction="sum")).fixed == {"reduction": "sum"}
    assert subject(Head(reduction="sum")).fixed == {"ignore_index": -100, "reduction": "sum"}


def test_a_wrapper_is_what_is_called() -> None:
    input, target = torch.zeros(2, 3), torch.tensor([0, 1])
    assert subject(twice).function(input, target) == 2 * declared(input, target)


def test_what_only_forward_takes_is_passed_to_it() -> None:
    found = subject(Head)
    assert found.forward_only == {"input", "linear_weight", "target", "linear_bias"}
    hidden, head = torch.zeros(2, 4), torch.zeros(3, 4)
    bias = torch.tensor([0.0, 1.0, 2.0])
    loss = found.function(
        hidden, head, torch.tensor([0, 1]), linear_bias=bias, reduction="sum", ignore_index=1
    )
    assert loss == F.cross_entropy(bias, torch.tensor(0))


def test_options_that_an_instance_hides_are_named() -> None:
    class Hidden(torch.nn.Module):
        def __init__(self, label_smoothing: float = 0.0) -> None:
            super().__init__()
            self.smoothing = label_smoothing

        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(input, target, label_smoothing=self.smoothing)

    assert subject(Hidden(0.1)).unseen == ("label_smoothing",)
    assert "label_smoothing" in (looks_like(subject(Hidden(0.1))) or "")
    assert subject(torch.nn.CrossEntropyLoss()).unseen == ()


def test_a_default_that_is_not_the_familys_is_known() -> None:
    def rows(input: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
        return F.cross_entropy(input, target, reduction=reduction)

    assert subject(rows).own_defaults == {"reduction": "none"}
    assert subject(functools.partial(rows, reduction="sum")).own_defaults == {}
    assert subject(declared).own_defaults == {}


def test_indices_have_no_gradient() -> None:
    found = subject_of(F.cross_entropy, "loss", Amendments(lacks=("soft_target",)))
    assert "target_gradient" not in found.capabilities
    assert found.absent["target_gradient"] == found.absent["soft_target"]
