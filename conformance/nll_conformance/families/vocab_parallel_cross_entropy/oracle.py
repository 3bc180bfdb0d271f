"""Exact value, gradient and admissible error of a vocabulary-parallel cross entropy.

The loss of every rank is the cross entropy of the unsplit logits.  The same upstream gradient
arrives at each, so the gradients of the shards, put together, are that of the unsplit call.
How the sums over classes are split changes no bound: those hold for any order of summation.

Source: https://docs.pytorch.org/docs/stable/distributed.tensor.parallel.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ...model import Case, Precision
from ...recipes import TensorRecipe, class_axis
from ...truth import Exact, Truth
from ..cross_entropy import oracle as cross_entropy
from ..cross_entropy.oracle import kept_rows

__all__ = ["formula", "kept_rows", "ranks_of", "truth"]


def ranks_of(case: Case) -> int:
    """How many ranks share the classes."""
    return int(case.option("ranks", 2))


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``smoothed_over`` of ``divergences`` says over which classes the smoothing mass goes.
    """
    unsplit = cross_entropy.truth(
        _unsplit(case, arguments, divergences),
        arguments,
        precision=precision,
        output_dtype=output_dtype,
        divergences=divergences,
    )
    return Truth(_on_each(unsplit.value, ranks_of(case)), unsplit.grads)


def _unsplit(
    case: Case, arguments: Mapping[str, torch.Tensor], divergences: Mapping[str, str]
) -> Case:
    """The call of one process that holds all classes."""
    options = dict(case.options)
    classes = arguments["input"].shape[class_axis(tuple(arguments["input"].shape))]
    if divergences.get("smoothed_over") == "others" and classes > 1:
        # (1 - eps) at the target, eps / (C - 1) elsewhere
        options["label_smoothing"] = case.option("label_smoothing", 0.0) * classes / (classes - 1)
    return replace(case, options=tuple(options.items()), upstream=_of_one_rank(case.upstream))


def _of_one_rank(upstream: TensorRecipe | None) -> TensorRecipe | None:
    """What arrives at one rank's loss; at the others' arrives the same."""
    if upstream is None:
        return None
    edits = tuple((index[1:], value) for index, value in upstream.edits)
    return replace(upstream, shape=upstream.shape[1:], edits=edits, layout="contiguous")


def _on_each(exact: Exact, ranks: int) -> Exact:
    """The same on every rank, stacked in front."""
    condition = None if exact.condition is None else torch.stack([exact.condition] * ranks)
    return Exact(torch.stack([exact.value] * ranks), torch.stack([exact.bound] * ranks), condition)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The losses of the ranks as an expression, to be held beside classic mistakes."""
    return torch.stack([cross_entropy.formula(case, tensors)] * ranks_of(case))
