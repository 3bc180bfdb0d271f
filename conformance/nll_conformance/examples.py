"""A typical call of a rule, as a program that also prints what is expected."""

from __future__ import annotations

from dataclasses import replace

from .cases import Context
from .discover import family, family_part
from .model import Case, Rule
from .reproducer import program
from .search import smallest, start_for


def first_case(rule: Rule, family_name: str) -> Case:
    """The simplest case that the rule's strategy draws for a subject that can do all."""
    contract = family(family_name)
    context = Context(
        family=contract,
        rule=rule.id,
        dtype=(rule.dtypes or ("float32",))[0],
        device="cpu",
        capabilities=frozenset(contract.capabilities),
    )
    start = start_for(0, rule.id, rule.revision, context.dtype)
    found = smallest(rule.cases(context), lambda case: True, start=start, cases=1)
    assert found is not None
    return found


def example(rule: Rule, family_name: str) -> str:
    """The program of that case, with the exact loss where the oracle can say it."""
    import torch

    case = first_case(rule, family_name)
    text = program(case, "your_module:your_loss")
    try:
        dtype = getattr(torch, case.dtype)
        exact = family_part(family_name, "oracle").truth(
            replace(case, upstream=None),
            case.build(),
            precision="fp32_inside",
            output_dtype=dtype,
            divergences={},
        )
    except Exception:  # noqa: BLE001 - the rules about bad input have no exact answer
        return text + "# expected: an exception"
    value = exact.value.value.tolist()
    bound = float(exact.value.bound.max()) if exact.value.bound.numel() else 0.0
    return text + f"# expected: {value}, each within {bound:.2g}"
