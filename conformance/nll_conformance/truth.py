"""What the oracle says of a case: exact numbers, and the error that a correct loss keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Exact:
    """A float64 tensor with the admissible absolute error of each entry, same shape.

    An infinite bound means "cannot be judged" (an intermediate of the documented algorithm
    overflows, say); a NaN bound is an error of the suite.  ``condition``, where the
    family derives it, is the entry's condition: error / (u * condition) is the error in
    condition units, u being the unit roundoff of the compute dtype.
    """

    value: torch.Tensor
    bound: torch.Tensor
    condition: torch.Tensor | None = None


@dataclass(frozen=True)
class Truth:
    """The exact loss of a case and its exact gradient for each differentiable tensor."""

    value: Exact
    grads: dict[str, Exact] = field(default_factory=dict)
