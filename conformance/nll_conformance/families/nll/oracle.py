"""Exact value, gradient and admissible error of ``torch.nn.functional.nll_loss``.

``loss_n = -w[t_n] x_n[t_n]``; its gradient is ``-s_n w[t_n]`` at the target, whatever the
numbers are, and exactly 0 elsewhere.  Without weights and reduction nothing is rounded, so
that the result is exact to the bit; with weights it is the correctly rounded product.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ... import bounds, picked
from ...model import Case, Precision
from ...picked import Loss, kept_rows
from ...truth import Truth

__all__ = ["formula", "kept_rows", "truth"]


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``arguments`` are the tensors of the call, already rounded to their dtypes.
    ``output_dtype`` is the dtype of the loss; gradients have their tensor's.
    """
    how = bounds.arithmetic(arguments["input"].dtype, precision)
    rows = picked.read(case, arguments, blank=0.0)
    loss = Loss(
        value=-rows.entry,
        error=torch.zeros_like(rows.entry),
        slope=torch.full_like(rows.entry, -1.0),
        steps=0,
        flat=torch.zeros_like(rows.counted),
        exact=True,
    )
    return picked.truth(case, rows, loss, how, output_dtype, divergences)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression; ``tensors`` are float64, targets as they are."""
    return picked.picked_formula(case, tensors, -tensors["input"])
