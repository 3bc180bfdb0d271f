"""The same call again; one thread against two."""

from __future__ import annotations

import torch

from ..cases import any_reduction, mixed_upstream, vary
from ..classification import many_rows
from ..contract import rule
from ..judge import agrees, identical
from ..model import Case, Judgement
from ..observe import Caller
from ..together import any_option
from ._families import CLASSES, ELEMENTWISE

#: Sums in another order often give the same bits once.
AGAIN = 4


@rule(
    "should",
    cases=vary(many_rows, any_reduction),
    source="torch.use_deterministic_algorithms; pytorch#17350",
    needs=("deterministic",),
    share=0.4,
    families=CLASSES + ELEMENTWISE,
    shows="""
        for again in range(10):
            {tensors}
            loss = {call}
            {backward}
            results = [loss.detach(), *[leaf.grad for leaf in [{leaves}]]]
            first = results if again == 0 else first
            torch.testing.assert_close(results, first, rtol=0, atol=0, equal_nan=True)
    """,
)
def repeat(case: Case, call: Caller) -> Judgement:
    """The same call gives the same bits."""
    first = call(case)
    for _ in range(AGAIN):
        again = call(case)
        yield from identical("the loss of a repeated call", again.value, first.value)
        for name, grad in first.grads.items():
            yield from identical(f"the gradient of {name}", again.grads[name], grad)


@rule(
    "must",
    cases=vary(many_rows, any_reduction),
    source="the number of threads is the machine's affair",
    share=0.2,
    families=CLASSES + ELEMENTWISE,
    patience=4.0,  # threads that wait for each other, on a busy machine
    shows="""
        torch.set_num_threads(2)
        loss = {call}
        {backward}
    """,
)
def two_threads(case: Case, call: Caller) -> Judgement:
    """With two threads the result is right as well."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = call(case)
    finally:
        torch.set_num_threads(threads)
    yield from agrees(seen)


@rule(
    "must",
    cases=vary(any_option, any_reduction, mixed_upstream),
    source="torch.use_deterministic_algorithms",
    share=0.5,
    shows="""
        torch.use_deterministic_algorithms(True, warn_only=True)
        loss = {call}
        {backward}
    """,
)
def deterministic_algorithms(case: Case, call: Caller) -> Judgement:
    """Where deterministic algorithms are asked for the result is right as well."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        seen = call(case)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
    yield from agrees(seen)
