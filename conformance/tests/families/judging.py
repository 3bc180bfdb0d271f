"""Judging element-wise losses by all rules of their family, or on cases drawn from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nll_conformance import discover
from nll_conformance.declare import Amendments, Subject, subject_of
from nll_conformance.judge import compare, truth_of
from nll_conformance.model import Case, Finding, Measured, Result
from nll_conformance.observe import Caller
from nll_conformance.run import Mode, context_for, missing, run_rule
from nll_conformance.search import smallest, start_for
from nll_conformance.truth import Truth

#: A loss and the precision that it may claim.
Variant = tuple[Callable[..., Any], str]

DTYPES = ("float32", "bfloat16", "float16", "float64")
#: Themes whose rules judge loss and gradient of an ordinary call.
THEMES = {"elementwise", "elementwise_gradients", "reductions", "gradients", "values"}
#: Rules that not every correct loss accepts, or that ask something else of a call.
UNUSUAL = {
    "elementwise.far_rows",
    "elementwise.integer_targets",
    "elementwise.wider_dtype",
    "gaussian_nll.scalar_variance",
    "poisson_nll.zero_rate",
    "gradients.second_order",
}


def subject(loss: Callable[..., Any], family: str, precision: str, *lacks: str) -> Subject:
    return subject_of(
        loss, "loss", Amendments(family=family, lacks=lacks, declare={"precision": precision})
    )


def results(
    of: Subject, dtype: str, *, profile: str = "quick", seed: int = 0, rules: tuple[str, ...] = ()
) -> Iterator[Result]:
    """The results of the family's rules that cost no compiler; of ``rules`` where given."""
    for rule in discover.rules_of(of.implementation.family).values():
        asked = rule.id in rules if rules else rule.id != "transforms.compiled"
        if asked and (not rule.dtypes or dtype in rule.dtypes):
            yield run_rule(of, rule, dtype, "cpu", mode=Mode(profile, seed))  # type: ignore[arg-type]


def failures(*args: Any, **options: Any) -> dict[str, str]:
    """What went wrong, by rule."""
    return {
        result.rule: f"{result.outcome}: {result.message}"
        for result in results(*args, **options)
        if result.outcome not in ("pass", "unsupported")
    }


def drawn(of: Subject, dtype: str, count: int, seed: int = 0) -> list[Case]:
    """Cases of every rule of the family that makes an ordinary call of this loss."""
    found: list[Case] = []
    themes = THEMES | {of.implementation.family}
    for rule in discover.rules_of(of.implementation.family).values():
        if rule.level != "must" or rule.theme not in themes or rule.id in UNUSUAL:
            continue
        if (rule.dtypes and dtype not in rule.dtypes) or missing(of, rule):
            continue
        cases = rule.cases(context_for(of, rule.id, dtype, "cpu"))
        here = start_for(seed, rule.id, rule.revision, dtype)
        smallest(cases, lambda case: bool(found.append(case)), start=here, cases=count)
    return found


def worst(
    loss: Callable[..., Any],
    precision: str,
    cases: list[Case],
    truths: dict[tuple[Case, str], Truth] | None = None,
) -> tuple[float, int, str]:
    """The largest error in units of the bound, how many cases were judged, and where."""
    largest, judged, where = 0.0, 0, ""
    truths = {} if truths is None else truths
    for case in cases:
        seen = Caller(subject(loss, case.family, precision), lambda case: None)(case)
        truth = truths.get((case, precision)) or truth_of(seen)
        truths[case, precision] = truth
        items = list(compare("loss", seen.value, truth.value, case.dtype))
        for name, exact in truth.grads.items():
            items += compare(f"gradient of {name}", seen.grads[name], exact, case.dtype)
        judged += any(isinstance(item, Measured) and item.judged for item in items)
        for item in items:
            ratio = item.error_over_bound or 0.0 if isinstance(item, Measured) else math.inf
            if ratio > largest:
                message = item.message if isinstance(item, Finding) else ""
                largest, where = ratio, f"{case.rule} {message} {case.options}"
    return largest, judged, where


def excerpt(variants: Mapping[str, Variant], family: str, dtype: str) -> dict[str, str]:
    """A small campaign: each case is judged with a few of the variants; the alarms."""
    cases = [
        case
        for case in drawn(subject(variants["single"][0], family, "fp32_inside"), dtype, 2, 5)
        if dict(case.recipe)["input"].elements < 3000
    ]
    alarms: dict[str, str] = {}
    truths: dict[tuple[Case, str], Truth] = {}
    for turn, (name, (loss, precision)) in enumerate(variants.items()):
        mine = cases[turn % 5 :: 5]
        ratio, judged, where = worst(loss, precision, mine, truths)
        assert judged > 0.8 * len(mine)
        if not ratio <= 1.0:
            alarms[name] = where
    return alarms
