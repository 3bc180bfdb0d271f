"""No correct loss leaves the bound, however unlike the oracle it computes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
import torch

from nll_conformance.families.cross_entropy.oracle import truth
from nll_conformance.model import DTYPES, Case, Precision
from nll_conformance.truth import Truth

from .drawn import LARGE, SMALL, case, ratio
from .losses import CORRECT, run, torch_loss

#: Cases for each dtype; raise it for a long run (see ``campaign``).
CASES = 60
TORCH: dict[str, tuple[Precision, bool]] = {
    "torch_eager": ("input_dtype", False),
    "torch_cast": ("fp32_inside", True),
}


def oracle(c: Case, precision: Precision, output: torch.dtype) -> Truth:
    arguments = c.build()
    return truth(c, arguments, precision=precision, output_dtype=output, divergences={})


def worst(c: Case, name: str, output: torch.dtype) -> dict[str, float]:
    """Error over bound of the value and of each gradient."""
    arguments = c.build()
    if name in TORCH:
        precision, cast = TORCH[name]
        value, grads = torch_loss(c, arguments, output, cast)
    else:
        precision = CORRECT[name].precision
        value, grads = run(CORRECT[name], c, arguments, output)
    exact = oracle(c, precision, output)
    found = {"value": ratio(value, exact.value)}
    return found | {key: ratio(grads[key], exact.grads[key]) for key in exact.grads}


def usable(c: Case, name: str) -> bool:
    """Masked probabilities and -inf beside weights are not in these losses' reach."""
    masked_soft = c.tensor("mask") is not None and c.tensor("target").dtype != "int64"
    return not (name in TORCH and masked_soft)


def campaign(cases: int, seed: int, dtype: str) -> tuple[dict[str, float], Counter[str], list]:
    """Largest ratio of each loss and quantity, how often each was compared, the alarms."""
    rng = random.Random(f"{seed} {dtype}")
    largest: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    alarms = []
    for i in range(cases):
        c = case(rng, dtype, LARGE if i % 6 == 5 else SMALL)
        outputs = [getattr(torch, dtype)]
        if dtype in ("float16", "bfloat16"):
            outputs.append(torch.float32)
        for name in (*TORCH, *CORRECT):
            if not usable(c, name):
                continue
            output = outputs[0] if name == "torch_eager" else rng.choice(outputs)
            for what, r in worst(c, name, output).items():
                count[what] += 1
                largest[f"{name} {what}"] = max(largest[f"{name} {what}"], r)
                if not r <= 1:
                    alarms.append((name, what, r, output, c))
    return largest, count, alarms


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_losses_stay_inside(dtype: str) -> None:
    torch.set_num_threads(1)
    _, count, alarms = campaign(CASES, 1, dtype)
    assert not alarms, alarms[:3]
    assert count["value"] > 15 * CASES
