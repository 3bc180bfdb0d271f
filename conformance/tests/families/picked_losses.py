"""Losses that read one entry of each row, right and wrong, and the cases to try them on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nll_conformance import discover
from nll_conformance.cases import (
    Draft,
    Draw,
    Variation,
    any_reduction,
    mixed_upstream,
    scalar_upstream,
)
from nll_conformance.classification import (
    ignored,
    masked,
    negative_weight,
    odd_rows,
    several_rows,
    spatial,
    square,
    unbatched,
    weighted,
)
from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.discover import family_part
from nll_conformance.judge import agrees
from nll_conformance.model import Case, Finding, Result
from nll_conformance.observe import Caller
from nll_conformance.run import Mode, context_for, run_rule

Loss = Callable[..., Tensor]
HALF = (torch.float16, torch.bfloat16)
DTYPES = ("float32", "bfloat16", "float16", "float64")
SHARED: tuple[Variation, ...] = (several_rows, odd_rows, square, spatial, unbatched)


def axis_of(x: Tensor) -> int:
    return 1 if x.dim() > 1 else 0


def wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in HALF else x


def double(x: Tensor) -> Tensor:
    return x.double()


def same(x: Tensor) -> Tensor:
    return x


def gathered(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(axis_of(x), index.unsqueeze(axis_of(x))).squeeze(axis_of(x))


def of(
    value: Callable[[Tensor], Tensor],
    *,
    blank: float | None = 0.0,
    pick: Callable[[Tensor, Tensor], Tensor] = gathered,
    before: Callable[[Tensor], Tensor] = same,
    cast: Callable[[Tensor], Tensor] = wide,
    weigh: Callable[[Tensor, Tensor], Tensor] = lambda loss, w: loss * w,
    count: Callable[[Tensor, Tensor | None], Tensor] = lambda kept, w: (
        kept.sum() if w is None else torch.where(kept, w, 0.0).sum()
    ),
    leave_out: Callable[[Tensor, Tensor], Tensor] = lambda kept, loss: torch.where(kept, loss, 0.0),
    mean: Callable[[Tensor, Tensor], Tensor] = lambda loss, den: loss.sum() / den,
) -> Loss:
    """A loss of the entry at the target, each of its steps exchangeable."""

    def loss(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        mask: Tensor | None = None,
    ) -> Tensor:
        kept = target != ignore_index
        if mask is not None:
            kept = kept & mask
        index = torch.where(kept, target.long(), 0)
        picked = pick(before(cast(input)), index)
        if blank is not None:
            picked = torch.where(kept, picked, blank)
        rows, w = value(picked), None
        if weight is not None:
            w = weight.to(rows.dtype)[index]
            rows = weigh(rows, w)
        rows = leave_out(kept, rows)
        if reduction == "none":
            return rows.to(input.dtype)
        result = rows.sum() if reduction == "sum" else mean(rows, count(kept, w))
        return result.to(input.dtype)

    return loss


def one_hot_then_sum(x: Tensor, index: Tensor) -> Tensor:
    """Right only where nothing infinite stands beside the target: where, not a product."""
    hot = torch.zeros_like(x).scatter(axis_of(x), index.unsqueeze(axis_of(x)), 1.0).bool()
    return torch.where(hot, x, 0.0).sum(axis_of(x))


def one_hot_times(x: Tensor, index: Tensor) -> Tensor:
    hot = torch.zeros_like(x).scatter(axis_of(x), index.unsqueeze(axis_of(x)), 1.0)
    return (hot * x).sum(axis_of(x))


def in_chunks(loss: Tensor, den: Tensor) -> Tensor:
    parts = [part.sum() for part in loss.reshape(-1).split(3)]
    return torch.stack(parts).sum() / den if parts else loss.sum() / den


def divided_first(loss: Tensor, den: Tensor) -> Tensor:
    return (loss / den).sum()


def times_reciprocal(loss: Tensor, den: Tensor) -> Tensor:
    return loss.sum() * (1.0 / den.to(loss.dtype))


# --- judging ------------------------------------------------------------------------------


def subject(loss: Loss, family: str, precision: str = "fp32_inside") -> Subject:
    return subject_of(loss, "loss", Amendments(family=family, declare={"precision": precision}))


def verdict(loss: Loss, family: str, rule: str, dtype: str, precision: str) -> Result:
    found = discover.rules()[rule]
    of_loss = subject(loss, family, precision)
    return run_rule(of_loss, found, dtype, "cpu", mode=Mode("quick", 0))


class Dice(Draw):
    """Draws from a seeded generator instead of Hypothesis."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)


def drawn(to: Subject, dtype: str, seed: str, own: tuple[Variation, ...]) -> Case:
    """A case with sizes, numbers, weights, ignored rows, mask, reduction, upstream at random."""
    dice = Dice(seed)
    context = context_for(to, "campaign", dtype, "cpu")
    draft: Draft = family_part(context.family.name, "cases").plain(context, dice)
    dice.among((*SHARED, *own))(draft, dice)
    if dice.yes():
        dice.among((weighted, negative_weight))(draft, dice)
    if draft.rows and dice.yes():
        dice.among((masked, ignored(-100), ignored(255)))(draft, dice)
    any_reduction(draft, dice)
    dice.among((mixed_upstream, scalar_upstream))(draft, dice)
    return draft.case()


def campaign(
    variants: dict[str, tuple[Loss, str]],
    family: str,
    dtype: str,
    cases: int,
    own: tuple[Variation, ...],
    seed: int = 0,
) -> tuple[int, dict[str, float], list[Any]]:
    """Comparisons made, the largest error over bound of each variant, the alarms."""
    compared, worst, alarms = 0, dict.fromkeys(variants, 0.0), []
    callers = {
        name: Caller(subject(loss, family, precision), lambda case: None)
        for name, (loss, precision) in variants.items()
    }
    first = next(iter(callers.values())).subject
    for number in range(cases):
        case = drawn(first, dtype, f"{seed} {dtype} {number}", own)
        for name, call in callers.items():
            seen = call(case)
            for item in agrees(seen):
                compared += 1
                if isinstance(item, Finding):
                    alarms.append((name, item.message, case))
                elif item.error_over_bound is not None:
                    worst[name] = max(worst[name], item.error_over_bound)
    return compared, worst, alarms


def some_rules(of_subject: Subject, dtype: str, part: int) -> Iterator[Result]:
    """The family's own rules, and a third of the shared ones."""
    family = of_subject.implementation.family
    for number, rule in enumerate(discover.rules_of(family).values()):
        wanted = rule.theme == family or number % 3 == part % 3
        asked = rule.id != "transforms.compiled" and (not rule.dtypes or dtype in rule.dtypes)
        if wanted and asked:
            yield run_rule(of_subject, rule, dtype, "cpu", mode=Mode("quick", 0))
