"""Classic mistakes are recognised, and nothing is said of what is right or unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.declare import Amendments, subject_of
from nll_conformance.discover import family_names
from nll_conformance.mistakes import looks_like
from nll_impls import implementations

CLASSES = ("cross_entropy", "nll", "prob_nll")


def said(loss: Callable[..., Any], family: str) -> str:
    return looks_like(subject_of(loss, "loss", Amendments(family=family))) or ""


def plain(formula: Callable[[Tensor, Tensor], Any]) -> Callable[..., Any]:
    def loss(
        input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
    ) -> Any:
        return formula(input, target)

    return loss


def only(dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
    def formula(x: Tensor, t: Tensor) -> Tensor:
        if t.dtype != dtype:
            raise TypeError(t.dtype)
        return x.sum()

    return formula


def one_hot_only(x: Tensor, t: Tensor) -> Tensor:
    if t.dim() != 2:
        raise ValueError("one-hot please")
    return -(t * x.log_softmax(1)).sum(1).mean()


MISTAKES: list[tuple[str, Callable[[Tensor, Tensor], Any], str]] = [
    ("cross_entropy", F.nll_loss, "family nll"),
    ("cross_entropy", lambda x, t: F.nll_loss(x.log(), t), "family prob_nll"),
    ("cross_entropy", lambda x, t: F.cross_entropy(x.softmax(1), t), "softmax is applied twice"),
    ("cross_entropy", lambda x, t: F.cross_entropy(x, t, reduction="sum"), "it sums"),
    ("cross_entropy", lambda x, t: F.cross_entropy(x, t, reduction="none"), "does not reduce"),
    ("cross_entropy", lambda x, t: -F.cross_entropy(x, t), "sign is flipped"),
    ("cross_entropy", lambda x, t: F.cross_entropy(x, t) / 0.6931471805599453, "base 2"),
    ("cross_entropy", lambda x, t: F.cross_entropy(x, t).exp(), "perplexity"),
    ("cross_entropy", lambda x, t: x.sum() * 0, "returns 0"),
    ("cross_entropy", lambda x, t: (x.argmax(1) == t).double().mean(), "the accuracy"),
    ("cross_entropy", lambda x, t: F.nll_loss(x.log_softmax(0), t), "over the batch"),
    ("cross_entropy", lambda x, t: F.nll_loss(x.softmax(1), t), "logarithm is missing"),
    ("cross_entropy", lambda x, t: F.nll_loss(x, t, reduction="sum"), "and it sums"),
    ("cross_entropy", only(torch.int32), "targets of int32"),
    ("nll", only(torch.float32), "targets of float32"),
    ("nll", one_hot_only, "one-hot targets"),
    ("nll", lambda x, t: F.cross_entropy(t, x), "the target first"),
    ("nll", F.cross_entropy, "family cross_entropy"),
    ("nll", lambda x, t: F.nll_loss(x.log(), t), "family prob_nll"),
    ("nll", lambda x, t: -F.nll_loss(x, t), "sign is flipped"),
    ("nll", lambda x, t: F.nll_loss(x, t).abs(), "absolute value"),
    ("prob_nll", F.nll_loss, "family nll"),
    ("prob_nll", F.cross_entropy, "family cross_entropy"),
    ("prob_nll", lambda x, t: F.nll_loss(x.log2(), t), "base 2"),
    ("prob_nll", lambda x, t: F.nll_loss((x / x.sum(1, keepdim=True)).log(), t), "by its sum"),
    ("bce_with_logits", F.binary_cross_entropy, "no sigmoid"),
    (
        "bce_with_logits",
        lambda x, t: F.binary_cross_entropy_with_logits(x.sigmoid(), t),
        "sigmoid is applied twice",
    ),
    (
        "causal_cross_entropy",
        lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten()),
        "nothing is shifted",
    ),
]


@pytest.mark.parametrize(("family", "formula", "words"), MISTAKES)
def test_recognised(family: str, formula: Callable[[Tensor, Tensor], Any], words: str) -> None:
    if family not in family_names():
        pytest.skip(f"no family {family}")
    assert words in said(plain(formula), family)


@pytest.mark.parametrize(
    "name", [i.name for i in implementations() if i.family in CLASSES], ids=str
)
def test_silent_about_what_is_right(name: str) -> None:
    (item,) = (i for i in implementations() if i.name == name)
    missing = getattr(item.load, "missing", lambda: None)()
    if missing:
        pytest.skip(f"{missing} is not installed")
    assert looks_like(subject_of(item, name, Amendments())) is None


def quit_now(x: Tensor, t: Tensor) -> Tensor:
    raise SystemExit(3)


class Strange:
    @property
    def __class__(self) -> type:
        raise RuntimeError("do not ask")


@pytest.mark.parametrize(
    "formula",
    [
        lambda x, t: x.sum() * 1.234,
        lambda x, t: None,
        lambda x, t: x.sum() * torch.nan,
        lambda x, t: Strange(),
        quit_now,
    ],
)
@pytest.mark.parametrize("family", CLASSES)
def test_silent_about_the_rest(family: str, formula: Callable[[Tensor, Tensor], Any]) -> None:
    assert said(plain(formula), family) == ""
