"""Exact value, gradient and admissible error of ``causal_cross_entropy``.

Position t of sequence b is scored against label t + 1 of the same sequence, the last
position against nothing: the call is the cross entropy of ``input[:, :-1]`` against
``target[:, 1:]``, and the gradient of each last position is exactly zero.

Source: https://github.com/huggingface/transformers/blob/main/src/transformers/loss/loss_utils.py
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...model import Case, Precision
from ...truth import Exact, Truth
from ..cross_entropy import oracle as cross_entropy


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``all_ignored_mean`` of ``divergences`` speaks of labels that are all ignored,
    ``empty_mean`` of sequences that leave nothing to score: T = 1, or no sequence.
    """
    inner = cross_entropy.truth(
        case,
        shifted(arguments),
        precision=precision,
        output_dtype=output_dtype,
        divergences=divergences,
    )
    shape = arguments["input"].shape
    return Truth(inner.value, {name: _behind(e, shape) for name, e in inner.grads.items()})


def shifted(arguments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the cross entropy inside: ``(B (T - 1), V)`` and ``(B (T - 1),)``."""
    logits, labels = arguments["input"], arguments["target"]
    return {
        "input": logits[:, :-1].reshape(-1, logits.shape[-1]),
        "target": labels[:, 1:].reshape(-1),
    }


def _behind(exact: Exact, shape: torch.Size) -> Exact:
    """The rows back in their places; nothing, exactly, in each last position."""
    batch, length, classes = shape
    places = (batch, max(length - 1, 0), classes)

    def padded(rows: torch.Tensor, last: float) -> torch.Tensor:
        return torch.nn.functional.pad(rows.reshape(places), (0, 0, 0, 1), value=last)

    kappa = None if exact.condition is None else padded(exact.condition, 1.0)
    return Exact(padded(exact.value, 0.0), padded(exact.bound, 0.0), kappa)


def kept_rows(case: Case, arguments: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which positions are scored: bool ``(B, T)``, the last of each sequence never."""
    labels = arguments["target"].detach().cpu().long()
    kept = torch.zeros(labels.shape, dtype=torch.bool)
    kept[:, :-1] = labels[:, 1:] != case.option("ignore_index", -100)
    return kept


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression, for second derivatives."""
    return cross_entropy.formula(case, {**tensors, **shifted(tensors)})
