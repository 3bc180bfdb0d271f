"""Exact value, gradient and admissible error of the NLL of probabilities.

``loss_n = -w[t_n] log p_n[t_n]``; its gradient is ``-s_n w[t_n] / p_n[t_n]`` at the target
and exactly 0 elsewhere.  A certain target (p = 1) costs exactly 0, an impossible one (p = 0)
infinity.

The error of the logarithm is ``u (KL0 + KL1 |log p|)``: 3 ulp of the result, and 6.5 u for
logarithms that are only absolutely accurate near 1 (``__logf``: 2**-21.41 on [0.5, 2]; CUDA
C++ Programming Guide, mathematical functions).  None of them misses log 1 = 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ... import bounds, picked
from ...bounds import INF, OWN, U64
from ...model import Case, Precision
from ...picked import Loss, kept_rows
from ...softmax import KL0, KL1
from ...truth import Truth

__all__ = ["formula", "kept_rows", "truth"]

#: Roundings of dividing by p, or of multiplying by 1/p.
DIVISION = 2


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
    dtype = arguments["input"].dtype
    how = bounds.arithmetic(dtype, precision)
    rows = picked.read(case, arguments, blank=1.0)
    p = rows.entry
    value = p.log().neg() + 0.0  # no negative zero
    error = how.compute.u * (KL0 + KL1 * value.abs()) + OWN * U64 * value.abs()
    error = error.masked_fill((p == 1.0) | (p == 0.0) | p.isnan(), 0.0)
    # Subnormal probabilities may be flushed to zero, whose logarithm is infinite.
    lost = (p != 0.0) & ~(p >= how.compute.tiny) & ~p.isnan()
    loss = Loss(
        value=value.masked_fill(lost, 0.0),
        error=error.masked_fill(lost, INF),
        slope=-1.0 / p,
        steps=DIVISION,
        flat=lost | (p == 0.0),
        exact=False,
    )
    return picked.truth(case, rows, loss, how, output_dtype, divergences)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression; ``tensors`` are float64, targets as they are."""
    return picked.picked_formula(case, tensors, -tensors["input"].log())
