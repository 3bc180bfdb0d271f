"""``nn.LogSoftmax`` followed by ``nn.NLLLoss``, the pair that models end with."""

from __future__ import annotations

from torch import Tensor, nn


class LogSoftmaxNLLLoss(nn.Module):
    """Log-probabilities over the class dimension, then the loss of their target."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.nll = nn.NLLLoss(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Input (C,), (N, C) or (N, C, d1, ...), target of class indices."""
        normalise = nn.LogSoftmax(dim=0 if input.dim() == 1 else 1)
        loss: Tensor = self.nll(normalise(input), target)
        return loss
