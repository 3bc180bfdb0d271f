"""PyTorch's own losses with options that are fixed beforehand keep every rule, in every dtype.

A module that was made with its options, or a partial, takes tensors alone: rules about an
option must judge what the fixed one means, or say why they do not ask.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch.nn.functional as F
from torch import nn

import nll_conformance
from nll_conformance.model import BAD_OUTCOMES, DTYPES, Profile
from nll_impls.losses import causal_shifted
from nll_impls.variants import variants

#: What fails of PyTorch with labels in uint8 where labels are smoothed: ``target == -100`` compares
#: with 156, and ``gather`` of class weights refuses bytes.  Without smoothing it keeps both.
LABELS_IN_BYTES = {"dtypes.byte_like_ignore_index", "dtypes.bytes_with_weight"}

LOSSES: dict[str, Any] = {
    "cross_entropy_smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
    "cross_entropy_of_rows": nn.CrossEntropyLoss(label_smoothing=1.0, reduction="none"),
    "cross_entropy_ignores_0": nn.CrossEntropyLoss(ignore_index=0),
    "cross_entropy_partial": partial(F.cross_entropy, ignore_index=-1, label_smoothing=0.2),
    "nll_of_rows": nn.NLLLoss(reduction="none"),
    "nll_ignores_1": partial(F.nll_loss, reduction="sum", ignore_index=1),
    "poisson_full": nn.PoissonNLLLoss(full=True),
    "poisson_of_rates": nn.PoissonNLLLoss(log_input=False, full=True, reduction="sum", eps=1e-3),
    "gaussian_full": nn.GaussianNLLLoss(full=True),
    "gaussian_floored": nn.GaussianNLLLoss(eps=0.5, reduction="sum"),
    "bce_of_elements": nn.BCEWithLogitsLoss(reduction="none"),
    "bce_summed": partial(F.binary_cross_entropy_with_logits, reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_fixed_options_are_spared(name: str) -> None:
    report = nll_conformance.check(LOSSES[name], dtype=",".join(DTYPES), profile="quick")
    bad = {
        f"{result.rule} {result.dtype}: {result.message}"
        for result in report.results
        if result.outcome in BAD_OUTCOMES and result.rule not in LABELS_IN_BYTES
    }
    assert not bad
    assert sum(result.outcome == "pass" for result in report.results) > 200


OTHERS: dict[str, Any] = {v.name: v for v in variants()} | {
    "causal_ignores_1": partial(causal_shifted.loss, ignore_index=1),
}

#: Draws that a rule, or its bound, was once too narrow for: loss, rule, dtype, profile, seed.
ONCE_FLAGGED = [
    # with another label another number of them counts
    ("causal_ignores_1", "causal_cross_entropy.no_leak", "float32", "quick", 0),
    # the parts of a sum cancel
    ("variant_poisson_by_distribution", "splits.batch", "bfloat16", "quick", 16),
    # twice a gradient is more than float16 holds
    ("poisson_of_rates", "autograd.accumulates", "float16", "standard", 1),
    # slopes and losses that are differences
    ("poisson_of_rates", "gradients.second_order_squared", "float64", "standard", 1),
    # eps / C over the weights' sum is subnormal before it meets a weight
    ("cross_entropy_partial", "weight.rows_beyond_half", "float16", "standard", 1),
]


@pytest.mark.parametrize(("name", "rule", "dtype", "profile", "seed"), ONCE_FLAGGED)
def test_what_was_once_flagged_is_spared(
    name: str, rule: str, dtype: str, profile: Profile, seed: int
) -> None:
    target = (LOSSES | OTHERS)[name]
    report = nll_conformance.check(target, rules=[rule], dtype=dtype, profile=profile, seed=seed)
    assert [result.outcome for result in report.results] == ["pass"]
