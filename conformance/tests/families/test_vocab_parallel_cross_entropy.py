"""The family ``vocab_parallel_cross_entropy``: exact truth, no false alarm, every fault caught."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import family, rules_of
from nll_conformance.engine import Engine
from nll_conformance.families.vocab_parallel_cross_entropy.oracle import ranks_of, truth
from nll_conformance.families.vocab_parallel_cross_entropy.shards import fitting, shards
from nll_conformance.model import Case
from nll_conformance.recipes import build, class_axis
from nll_conformance.wish import Wish

from .rule_cases import drawn, first_finding, one_thread

__all__ = ["one_thread"]

NAME = "vocab_parallel_cross_entropy"
RULES = rules_of(NAME)
LEGAL = {
    "all_ignored_mean": "nan",
    "empty_mean": "nan",
    "half_output": "input",
    "smoothed_over": "all",
}
Loss = Callable[..., Tensor]
pytestmark = pytest.mark.usefixtures("one_thread")


def subject(loss: Loss, precision: str = "input_dtype", **legal: str) -> Subject:
    declare = {"precision": precision, **LEGAL, **legal}
    return subject_of(loss, "planted", Amendments(family=NAME, declare=declare))


@pytest.mark.parametrize(
    ("classes", "ranks", "sizes"),
    [(4, 2, (2, 2)), (5, 2, (3, 2)), (5, 4, (2, 2, 1, 0)), (1, 3, (1, 0, 0)), (7, 1, (7,))],
)
def test_shards_are_those_of_chunk(classes: int, ranks: int, sizes: tuple[int, ...]) -> None:
    parts = shards(classes, ranks)
    assert tuple(map(len, parts)) == sizes
    assert [j for part in parts for j in part] == list(range(classes))
    chunks = torch.arange(classes).chunk(ranks)
    assert [c.tolist() for c in chunks] == [list(part) for part in parts if part]


def test_classes_fit_what_a_loss_can_split() -> None:
    assert fitting(5, 4, uneven=True, empty=True) == 5
    assert fitting(5, 4, uneven=True, empty=False) == 7
    assert fitting(5, 4, uneven=False, empty=True) == 8
    assert fitting(1, 2, uneven=True, empty=False) == 2


def split(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ranks: int = 2,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Each rank differentiates the unsplit loss in its own classes."""
    axis = class_axis(tuple(input.shape))
    place = torch.arange(input.shape[axis]).view(-1, *[1] * (input.dim() - axis - 1))
    losses = []
    for own in shards(input.shape[axis], ranks):
        mine = (place >= own.start) & (place < own.stop)
        logits = torch.where(mine, input, input.detach())
        losses.append(
            F.cross_entropy(
                logits, target, weight, None, ignore_index, None, reduction, label_smoothing
            )
        )
    return torch.stack(losses)


def wide(input: Tensor, target: Tensor, **options: object) -> Tensor:
    weight = options.pop("weight", None)
    if isinstance(weight, Tensor):
        options["weight"] = weight.double()
    return split(input.double(), target, **options).to(input.dtype)


def by_parts(
    input: Tensor,
    target: Tensor,
    ranks: int = 2,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """As the ranks do it: one maximum, a sum of sums, the target's logit from its owner."""
    kept = target != ignore_index
    safe = torch.where(kept, target, 0)
    found = []
    for rank in range(ranks):
        x = input.double() if input.dtype == torch.float64 else input.float()
        parts = [
            x.movedim(class_axis(tuple(x.shape)), -1)[..., p.start : p.stop]
            for p in shards(x.shape[class_axis(tuple(x.shape))], ranks)
        ]
        parts = [part if own == rank else part.detach() for own, part in enumerate(parts)]
        parts = [torch.where(kept.unsqueeze(-1), part, 0.0) for part in parts]
        top = torch.cat(parts, -1).detach().amax(-1, keepdim=True)
        top = torch.where(top.isfinite(), top, 0.0)
        total = torch.stack([(part - top).exp().sum(-1) for part in parts]).sum(0)
        picked = torch.cat(parts, -1).gather(-1, safe.unsqueeze(-1)).squeeze(-1)
        rows = torch.where(kept, total.log() - (picked - top.squeeze(-1)), 0.0)
        total = rows if reduction == "none" else rows.sum()
        found.append(total / kept.sum() if reduction == "mean" else total)
    return torch.stack(found).to(input.dtype)


CORRECT: dict[str, tuple[str, Loss]] = {
    "split": ("input_dtype", split),
    "wide": ("fp32_inside", wide),
    "by parts": ("fp32_inside", by_parts),
}
CAMPAIGN = (
    *(rule for rule in RULES if rule.startswith(NAME) and not rule.endswith("same_bits")),
    "stability.common_offset",
    "gradients.confident",
    "gradients.upstream_rows",
)


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_correct_variants_raise_no_alarm(name: str, dtype: str) -> None:
    precision, loss = CORRECT[name]
    of = subject(loss, precision)
    for rule in CAMPAIGN:
        if set(RULES[rule].needs) <= of.capabilities:
            finding, tally = first_finding(of, rule, dtype, 5)
            assert finding is None, (rule, finding)
            assert tally.judged


@pytest.mark.parametrize("rule", ["any_ranks", "own_gradient", "uneven", "border_classes"])
def test_oracle_agrees_with_the_definition(rule: str) -> None:
    for case in drawn(subject(split), f"{NAME}.{rule}", "float64"):
        tensors = case.build()
        assert case.upstream is not None
        upstream = build(case.upstream)
        assert upstream.shape[0] == ranks_of(case) and torch.equal(upstream[0], upstream[-1])
        value = split(**tensors, **dict(case.options))
        value.backward(upstream)
        said = truth(
            case,
            case.build(),
            precision="fp32_inside",
            output_dtype=torch.float64,
            divergences=LEGAL,
        )
        torch.testing.assert_close(said.value.value, value.detach(), rtol=1e-12, atol=1e-13)
        want = tensors["input"].grad
        assert want is not None
        torch.testing.assert_close(said.grads["input"].value, want, rtol=1e-11, atol=1e-13)


def others_smoothed(
    input: Tensor,
    target: Tensor,
    ranks: int = 2,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Megatron's definition: the smoothing mass goes to the C - 1 other classes."""
    classes = input.shape[1]
    more = label_smoothing * classes / max(classes - 1, 1)
    row = split(input, target, ranks=ranks, reduction="none")
    even = split_mean(input, ranks)
    rows = (1 - more) * row + more * even
    return rows if reduction == "none" else rows.sum(1) if reduction == "sum" else rows.mean(1)


def split_mean(input: Tensor, ranks: int) -> Tensor:
    """(ranks, n): the mean of -log p over the classes."""
    columns = torch.arange(input.shape[1])
    return torch.stack(
        [
            split(input, torch.full((len(input),), int(j)), ranks=ranks, reduction="none")
            for j in columns
        ]
    ).mean(0)


def probed(loss: Loss) -> dict[str, str]:
    return Engine(
        Wish(target="planted", family=NAME, profile="quick"), lambda case: None, loss
    ).probe()


def test_where_the_smoothing_goes_is_seen_and_held_to() -> None:
    assert probed(others_smoothed)["smoothed_over"] == "others"
    assert probed(split)["smoothed_over"] == "all"
    for legal, wrong in (("others", "all"), ("all", "others")):
        loss = others_smoothed if legal == "others" else split
        rule = f"{NAME}.smoothing_over_all"
        assert first_finding(subject(loss, smoothed_over=legal), rule, "float64")[0] is None
        assert first_finding(subject(loss, smoothed_over=wrong), rule, "float64")[0] is not None


def test_a_fixed_number_of_ranks_is_kept() -> None:
    of = subject(functools.partial(split, ranks=4))
    assert "ranks" not in of.capabilities
    for rule in ("every_rank", "uneven", "border_classes"):
        finding, _ = first_finding(of, f"{NAME}.{rule}", count=5)
        assert finding is None, finding


def test_the_parameter_ranks_tells_the_family() -> None:
    assert subject_of(split, "planted", Amendments()).implementation.family == NAME
    plain = drawn(subject(split), "call.simplest", "float32", 1)[0]
    assert family(NAME).numbers(plain) == 2
    more = Case(**{**vars(plain), "options": (("ranks", 3),)})
    assert family(NAME).numbers(more) == 3


def one_loss_for_all(input, target, ranks=2, reduction="mean"):
    return F.cross_entropy(input, target, reduction=reduction)


def test_a_loss_that_returns_one_number_fails_the_simplest_call() -> None:
    finding, _ = first_finding(subject(one_loss_for_all), "call.simplest")
    assert finding is not None and "expected 2" in finding.message
