"""Identities between a batch and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from .. import bounds
from ..cases import option, vary
from ..classification import odd_rows
from ..contract import rule
from ..judge import agrees, compare, truth_of
from ..model import Case, Judgement
from ..observe import Caller
from ..truth import Exact
from ._families import ELEMENTWISE

SOURCE = "linearity: a sum of row losses does not depend on how rows are grouped"


def _part(tensors: Mapping[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    return {
        name: t.detach()[rows].clone().requires_grad_(t.requires_grad)
        for name, t in tensors.items()
    }


@rule(
    "must",
    cases=vary(odd_rows, option("reduction", "sum")),
    source=SOURCE,
    needs=("reduction_sum", "gradient"),
    families=("cross_entropy", "nll", "prob_nll", *ELEMENTWISE),
    share=0.6,
    revision=2,
    shows="""
        loss = {call}
        loss.backward(upstream)
        whole, cut = [{names}], 1 + input.shape[0] // 3
        sum_of_two_parts, parts = 0, []
        for rows in (slice(0, cut), slice(cut, None)):
            [{names}] = [t.detach()[rows].clone().requires_grad_(t.requires_grad) for t in whole]
            part = {call}
            part.backward(upstream)
            sum_of_two_parts = sum_of_two_parts + part.detach().double()
            parts.append(input.grad)
        gradient_in_two_parts = torch.cat(parts)
        [{names}] = whole
    """,
)
def batch(case: Case, call: Caller) -> Judgement:
    """The sums of two parts of a batch add up to the sum of the whole, and so do gradients."""
    whole = call(case)
    yield from agrees(whole)
    truth = truth_of(whole)
    cut = whole.value.new_zeros(1).numel() + case.build()["input"].shape[0] // 3
    total = torch.zeros((), dtype=torch.float64)
    rounding = torch.zeros((), dtype=torch.float64)
    grads = []
    for rows in (slice(0, cut), slice(cut, None)):
        tensors = _part(call.tensors(case), rows)
        value = call.forward(case, tensors)
        call.backward(value, call.upstream(case, value))
        part = value.detach().cpu().double()
        total += part
        # of each part by itself, for parts of opposite sign may cancel
        rounding = rounding + bounds.FORMATS[value.dtype].u * part.abs()
        grads.append(call.grads(tensors)["input"])
    twice = Exact(truth.value.value, 2 * truth.value.bound + rounding)
    yield from compare("sum of two parts", total, twice, case.dtype)
    exact = truth.grads["input"]
    doubled = Exact(exact.value, 2 * exact.bound)
    joined = torch.cat([g for g in grads if g is not None])
    yield from compare("gradient in two parts", joined, doubled, case.dtype)


@rule(
    "must",
    cases=vary(odd_rows, option("reduction", "none")),
    source=SOURCE,
    needs=("reduction_none",),
    families=("cross_entropy", "nll", "prob_nll", *ELEMENTWISE),
    share=0.6,
    shows="""
        [{names}] = [tensor.detach().flip(0) for tensor in [{names}]]
        loss = {call}.flip(0)
    """,
)
def order(case: Case, call: Caller) -> Judgement:
    """Rows in another order have the same losses: no row depends on its neighbours."""
    tensors = call.tensors(case)
    turned = {name: t.detach().flip(0) for name, t in tensors.items()}
    forward = replace(case, upstream=None)
    value = call.forward(forward, turned).flip(0)
    yield from agrees(call.observation(forward, value, {}, tensors))
