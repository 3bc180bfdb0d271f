"""Whether the loss can be called at all."""

from __future__ import annotations

from ..cases import forward_only, vary
from ..contract import rule
from ..judge import truth_of
from ..model import Case, Finding, Judgement, Measured
from ..observe import Caller


@rule("must", cases=vary(forward_only), source="torch.nn.CrossEntropyLoss", share=0.2)
def simplest(case: Case, call: Caller) -> Judgement:
    """The simplest call of the family works and returns a floating tensor of the right size."""
    seen = call(case)
    yield Measured()
    numbers = call.family.numbers(case)
    if case.reduction == "none":  # by the target's own choice
        numbers = truth_of(seen).value.value.numel()
    if seen.value.numel() != numbers:
        expected = "one" if numbers == 1 else str(numbers)
        found = seen.value.numel()
        yield Finding(
            f"reduction {case.reduction!r} returned {found} numbers, expected {expected}",
            got=str(tuple(seen.value.shape)),
            want="()" if numbers == 1 else f"({numbers},)",
            kind="shape",
        )
