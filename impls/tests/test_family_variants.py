"""Variants of the families beside cross entropy agree with PyTorch's own losses."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nll_conformance.model import Implementation
from nll_impls.losses import causal_shifted, linear_then_cross_entropy, prob_gather
from nll_impls.variants import variants

OTHERS = [variant for variant in variants() if variant.family != "cross_entropy"]
A = torch.linspace(-1.5, 2.0, 12).reshape(4, 3).double()
B = A.flip(0, 1) * 0.75
HEAD = torch.linspace(-1.0, 1.0, 15).reshape(5, 3).double().sin()
LABELS = torch.tensor([0, 2, -100, 1])


def right_on_each(
    input: torch.Tensor, target: torch.Tensor, ranks: int = 2, **options: Any
) -> torch.Tensor:
    """The unsplit loss once for each rank, which differentiates a part of it."""
    part = F.cross_entropy(input, target, **options) / ranks
    return torch.stack([part + (ranks - 1) * part.detach()] * ranks)


CALLS: dict[str, tuple[Any, tuple[torch.Tensor, ...], list[dict[str, Any]]]] = {
    "gaussian_nll": (F.gaussian_nll_loss, (A, B, A.abs() + 0.25), [{}, {"full": True}]),
    "poisson_nll": (F.poisson_nll_loss, (A, B.abs().round()), [{}, {"full": True}]),
    "bce_with_logits": (
        F.binary_cross_entropy_with_logits,
        (20 * A, B.sigmoid()),
        [{}, {"reduction": "none"}],
    ),
    "nll": (F.nll_loss, (A, LABELS), [{}, {"reduction": "sum"}]),
    "prob_nll": (prob_gather.loss, (A.softmax(1), LABELS), [{}, {"reduction": "sum"}]),
    "linear_cross_entropy": (
        linear_then_cross_entropy.loss,
        (A, HEAD, LABELS),
        [{}, {"linear_bias": HEAD[:, 0].clone()}, {"label_smoothing": 0.25}],
    ),
    "vocab_parallel_cross_entropy": (
        right_on_each,
        (A, LABELS),
        [{}, {"reduction": "none", "ranks": 4}, {"label_smoothing": 0.25, "ranks": 1}],
    ),
    "causal_cross_entropy": (
        causal_shifted.loss,
        (A.reshape(2, 2, 3), torch.tensor([[0, 1], [2, 0]])),
        [{}],
    ),
}


@pytest.mark.parametrize("variant", OTHERS, ids=lambda variant: variant.name)
def test_agrees_with_torch(variant: Implementation) -> None:
    right, tensors, options = CALLS[variant.family]
    for chosen in options:
        found = []
        for loss in (variant.load(), right):
            leaf = tensors[0].clone().requires_grad_()
            if isinstance(loss, type):
                value = loss(**chosen)(leaf, *tensors[1:])
            else:
                value = loss(leaf, *tensors[1:], **chosen)
            gradient = torch.autograd.grad(value.sum(), leaf)[0]
            found.append((value.detach(), gradient.to_dense() if gradient.is_sparse else gradient))
        torch.testing.assert_close(*found)
