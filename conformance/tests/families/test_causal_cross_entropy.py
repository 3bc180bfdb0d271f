"""The family ``causal_cross_entropy``: exact truth, no false alarm, every fault caught."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import rules_of
from nll_conformance.families.causal_cross_entropy.oracle import kept_rows, truth
from nll_conformance.recipes import build
from nll_impls import implementations

from .rule_cases import drawn, first_finding, one_thread

__all__ = ["one_thread"]

NAME = "causal_cross_entropy"
RULES = rules_of(NAME)
BUNDLED = {i.name: i for i in implementations() if i.family == NAME}
LEGAL = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}
Loss = Callable[..., Tensor]
pytestmark = pytest.mark.usefixtures("one_thread")


def subject(loss: Loss, precision: str = "input_dtype") -> Subject:
    amendments = Amendments(family=NAME, declare={"precision": precision, **LEGAL})
    return subject_of(loss, "planted", amendments)


def scored(input: Tensor, target: Tensor, ignore_index: int = -100) -> list[Tensor]:
    """The losses by the definition, a position at a time."""
    rows, length = target.shape
    return [
        input[b, t].logsumexp(0) - input[b, t, target[b, t + 1]]
        for b in range(rows)
        for t in range(length - 1)
        if target[b, t + 1] != ignore_index
    ]


@pytest.mark.parametrize("rule", ["next_label", "padding", "packed_documents", "cubic"])
def test_oracle_agrees_with_the_definition(rule: str) -> None:
    for case in drawn(subject(sliced), f"{NAME}.{rule}", "float64"):
        tensors = case.build()
        if tensors["target"].numel() > 200:
            continue
        losses = scored(**tensors, **dict(case.options))
        if not losses:
            continue
        value = torch.stack(losses).mean()
        assert case.upstream is not None
        value.backward(build(case.upstream).double())
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
        assert not said.grads["input"].bound[:, -1].any()
        assert int(kept_rows(case, tensors).sum()) == len(losses)


def sliced(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    logits, labels = input[:, :-1], target[:, 1:]
    return F.cross_entropy(
        logits.reshape(-1, input.shape[-1]), labels.reshape(-1), ignore_index=ignore_index
    )


def moved(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Classes to dim 1, as for images."""
    return F.cross_entropy(input[:, :-1].movedim(-1, 1), target[:, 1:], ignore_index=ignore_index)


def wide(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """As transformers: float32 logits, labels padded instead of logits cut."""
    logits = input.float() if input.dtype != torch.float64 else input
    labels = F.pad(target, (0, 1), value=ignore_index)[:, 1:]
    value = F.cross_entropy(
        logits.reshape(-1, input.shape[-1]), labels.reshape(-1), ignore_index=ignore_index
    )
    return value.to(input.dtype)


def gathered(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """Masked sum over the count, by hand."""
    logits, labels = input[:, :-1], target[:, 1:]
    kept = labels != ignore_index
    logits = torch.where(kept.unsqueeze(-1), logits, 0.0)
    logp = torch.log_softmax(logits, -1, dtype=torch.promote_types(input.dtype, torch.float32))
    picked = logp.gather(-1, torch.where(kept, labels, 0).unsqueeze(-1)).squeeze(-1)
    return (-(picked * kept).sum() / kept.sum()).to(input.dtype)


def by_sequence(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """One sequence after the other, joined by their counts."""
    total, count = input.new_zeros((), dtype=torch.float64), 0
    for logits, labels in zip(input, target, strict=True):
        part = F.cross_entropy(
            logits[:-1].double(), labels[1:], ignore_index=ignore_index, reduction="sum"
        )
        total, count = total + part, count + int((labels[1:] != ignore_index).sum())
    return (total / count).to(input.dtype) if count else (total * torch.nan).to(input.dtype)


CORRECT: dict[str, tuple[str, Loss]] = {
    "sliced": ("input_dtype", sliced),
    "moved": ("input_dtype", moved),
    "wide": ("fp32_inside", wide),
    "gathered": ("fp32_inside", gathered),
    "by sequence": ("fp32_inside", by_sequence),
}
CAMPAIGN = (
    f"{NAME}.next_label",
    f"{NAME}.padding",
    f"{NAME}.packed_documents",
    f"{NAME}.last_position",
    f"{NAME}.cubic",
    "stability.common_offset",
    "gradients.confident",
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


def flat(input: Tensor, target: Tensor, ignore_index: int = -100, **more: object) -> Tensor:
    classes = input.shape[-1]
    return F.cross_entropy(
        input.reshape(-1, classes), target.reshape(-1), ignore_index=ignore_index, **more
    )


def ahead(target: Tensor, fill: int) -> Tensor:
    return F.pad(target, (0, 1), value=fill)[:, 1:]


def not_shifted(input, target, ignore_index=-100):
    return flat(input, target, ignore_index)


def shifted_twice(input, target, ignore_index=-100):
    return sliced(input, ahead(target, ignore_index), ignore_index)


def shifted_back(input, target, ignore_index=-100):
    return flat(input[:, 1:], target[:, :-1], ignore_index)


def flattened_first(input, target, ignore_index=-100):
    logits, labels = input.reshape(-1, input.shape[-1]), target.reshape(-1)
    return F.cross_entropy(logits[:-1], labels[1:], ignore_index=ignore_index)


def rolled(input, target, ignore_index=-100):
    return flat(input, target.roll(-1, 1), ignore_index)


def counted_before(input, target, ignore_index=-100):
    total = flat(input, ahead(target, ignore_index), ignore_index, reduction="sum")
    return total / (target != ignore_index).sum()


def divided_by_positions(input, target, ignore_index=-100):
    total = flat(input, ahead(target, ignore_index), ignore_index, reduction="sum")
    return total / (target.shape[0] * (target.shape[1] - 1))


def divided_by_all(input, target, ignore_index=-100):
    total = flat(input, ahead(target, ignore_index), ignore_index, reduction="sum")
    return total / target.numel()


def mean_of_sequences(input, target, ignore_index=-100):
    parts = [sliced(x[None], t[None], ignore_index) for x, t in zip(input, target, strict=True)]
    kept = [p for p, t in zip(parts, target, strict=True) if (t[1:] != ignore_index).any()]
    return torch.stack(kept).mean() if kept else sliced(input, target, ignore_index)


def padded_with_zero(input, target, ignore_index=-100):
    return flat(input, ahead(target, 0), ignore_index)


def padded_with_minus_100(input, target, ignore_index=-100):
    return flat(input, torch.where(ahead(target, -100) == -100, -100, ahead(target, -100)), -100)


def ignores_by_position(input, target, ignore_index=-100):
    labels = target[:, 1:].clone()
    gone = target[:, :-1] == ignore_index
    labels[gone | (labels == ignore_index)] = ignore_index
    return flat(input[:, :-1], labels, ignore_index)


def shifts_in_place(input, target, ignore_index=-100):
    target[:, :-1] = target[:, 1:].clone()
    target[:, -1] = ignore_index
    return flat(input, target, ignore_index)


def views(input, target, ignore_index=-100):
    shape = -1, input.shape[-1]
    return F.cross_entropy(
        input[:, :-1].contiguous().view(shape), target.view(-1, target.shape[1])[:, 1:].reshape(-1)
        if target.is_contiguous() else target.view(-1), ignore_index=ignore_index
    )  # fmt: skip


def first_sequence_only(input, target, ignore_index=-100):
    return sliced(input[:1], target[:1], ignore_index)


def uses_every_logit(input, target, ignore_index=-100):
    return sliced(input, target, ignore_index) + 0.0 * input.sum()


def leaks_gradient(input, target, ignore_index=-100):
    return sliced(input, target, ignore_index) + 1e-9 * input[:, -1].sum()


def checks_every_label(input, target, ignore_index=-100):
    kept = target[target != ignore_index]
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < input.shape[-1]:
        raise IndexError("a label is out of range")
    return sliced(input, target, ignore_index)


def cuts_to_the_shorter(input, target, ignore_index=-100):
    length = min(input.shape[1], target.shape[1])
    return sliced(input[:, :length], target[:, :length], ignore_index)


def classes_in_the_middle(input, target, ignore_index=-100):
    if input.shape[1] == input.shape[2]:
        return F.cross_entropy(input[..., :-1], target[:, 1:], ignore_index=ignore_index)
    return sliced(input, target, ignore_index)


def in_blocks(input, target, ignore_index=-100):
    """Whole blocks of 16 positions only."""
    length = target.shape[1]
    if length <= 33:
        return sliced(input, target, ignore_index)
    end = (length - 1) // 16 * 16 + 1
    return sliced(input[:, :end], target[:, :end], ignore_index)


def zero_gradient_if_one(input, target, ignore_index=-100):
    if target.shape[1] == 1:
        return flat(input, target, ignore_index)
    return sliced(input, target, ignore_index)


FAULTS: dict[Loss, str] = {
    not_shifted: f"{NAME}.next_label",
    shifted_twice: f"{NAME}.next_label",
    shifted_back: f"{NAME}.next_label",
    flattened_first: f"{NAME}.last_position",
    rolled: f"{NAME}.last_position",
    counted_before: f"{NAME}.count_after_shift",
    divided_by_positions: f"{NAME}.padding",
    divided_by_all: "values.plain_mean",
    mean_of_sequences: f"{NAME}.padding",
    padded_with_zero: f"{NAME}.last_position",
    padded_with_minus_100: f"{NAME}.other_ignore_index",
    ignores_by_position: f"{NAME}.packed_documents",
    shifts_in_place: f"{NAME}.labels_replaced",
    views: f"{NAME}.layouts",
    first_sequence_only: f"{NAME}.next_label",
    uses_every_logit: f"{NAME}.nonfinite_last_position",
    leaks_gradient: f"{NAME}.last_position",
    checks_every_label: f"{NAME}.impossible_first_label",
    cuts_to_the_shorter: f"{NAME}.length_mismatch",
    classes_in_the_middle: f"{NAME}.cubic",
    in_blocks: f"{NAME}.lengths",
    zero_gradient_if_one: f"{NAME}.single_position",
}


@pytest.mark.parametrize("loss", FAULTS, ids=lambda loss: loss.__name__)
def test_fault_is_caught_by_the_rule_that_names_it(loss: Loss) -> None:
    finding, _ = first_finding(subject(loss), FAULTS[loss])
    assert finding is not None


def test_a_leak_between_sequences_is_seen_without_the_oracle() -> None:
    def leaking(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
        mixed = input + 1e-6 * F.one_hot(target[:1].clamp(0), input.shape[-1]) * input
        return sliced(mixed, target, ignore_index)

    finding, _ = first_finding(subject(leaking), f"{NAME}.no_leak")
    assert finding is not None


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_implementations_are_what_they_declare(name: str) -> None:
    of = subject_of(BUNDLED[name], name, Amendments())
    known = {(e.rule, e.dtype) for e in BUNDLED[name].expected}
    for rule in [rule for rule in RULES if rule.startswith(NAME)]:
        expected = bool({(rule, None), (rule, "float32")} & known)
        finding, _ = first_finding(of, rule)
        assert (finding is not None) == expected, (rule, finding)
