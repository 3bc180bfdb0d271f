"""scikit-learn: ``log_loss`` of predicted probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor


def load() -> Callable[..., Any]:
    """``log_loss`` with all labels named; values only."""
    import torch
    from sklearn.metrics import log_loss

    def sklearn_log_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Any:
        value = log_loss(
            target.detach().cpu().numpy(),
            input.detach().cpu().numpy(),
            normalize={"mean": True, "sum": False}[reduction],
            labels=list(range(input.shape[-1])),
        )
        return torch.as_tensor(value, dtype=input.dtype, device=input.device)

    return sklearn_log_loss


IMPLEMENTATIONS = (
    from_package(
        "sklearn_log_loss",
        load,
        family="prob_nll",
        distribution="scikit-learn",
        requires=("sklearn",),
        lacks=(
            "gradient",
            "spatial",
            "unbatched",
            "reduction_none",
            "ignore_minus_100",
            "empty_batch",
        ),
        dtypes=("float32", "float16", "float64"),  # NumPy has no bfloat16
        url="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.log_loss.html",
    ),
)
