"""As people write it who never heard of this suite: bytes, weights' dtypes, products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.model import Expected

from ..losses.rows import widened
from ._declare import EAGER, variant

UINT8 = Expected(
    "dtypes.high_bytes",
    reason="targets of uint8 are compared with -100, which is 156 there",
    link="https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc",
)
PRODUCT = Expected(
    "dtypes.autocast_in_float32",
    reason="autocast rounds the operands of a product",
    link="https://docs.pytorch.org/docs/stable/amp.html#cpu-op-specific-behavior",
)
SPARSE = Expected(
    "autograd.gradient_meta",
    reason="gather is asked for a sparse gradient",
    link="https://docs.pytorch.org/docs/stable/generated/torch.gather.html",
)


def tokens_counted(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """The sum by PyTorch, divided by the number of tokens that are not ignored."""
    count = (target != ignore_index).sum()
    total = F.cross_entropy(widened(input), target, ignore_index=ignore_index, reduction="sum")
    return (total / count).to(input.dtype)


def weights_in_their_dtype(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """The weights of the targets are summed up in the dtype that they have."""
    kept = target != -100
    labels = torch.where(kept, target, 0)
    picked = F.log_softmax(widened(input), 1).gather(1, labels.unsqueeze(1)).squeeze(1)
    losses = torch.where(kept, -picked, 0.0)
    total = kept.sum()
    if weight is not None:
        own = weight[labels] * kept
        losses, total = losses * own, own.sum()
    if reduction == "none":
        return losses.to(input.dtype)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"no such reduction: {reduction}")
    return (losses.sum() / (total if reduction == "mean" else 1)).to(input.dtype)


def indexed(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Rows and labels index the log-probabilities together."""
    log_p = widened(input).log_softmax(-1)
    losses = -log_p[torch.arange(len(target)), target]
    reduced = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}
    return reduced[reduction].to(input.dtype)


def differences(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """The log-sum-exp of the differences to the target's logit."""
    kept = target != ignore_index
    x = torch.where(kept.unsqueeze(1), widened(input), 0.0)
    labels = torch.where(kept, target, 0).unsqueeze(1)
    above = (x - x.gather(1, labels)).scatter(1, labels, 0.0)
    losses = torch.where(kept, above.logsumexp(1), 0.0)
    if reduction == "none":
        return losses.to(input.dtype)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"no such reduction: {reduction}")
    return (losses.sum() / (kept.sum() if reduction == "mean" else 1)).to(input.dtype)


def batched_product(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """One-hot rows times columns of log-probabilities, by the batched matrix product."""
    log_p = widened(input).log_softmax(1)
    hot = F.one_hot(target, input.shape[1]).to(log_p.dtype)
    finite = torch.where(hot.bool(), log_p, 0.0)
    losses = -torch.bmm(hot.unsqueeze(1), finite.unsqueeze(2)).reshape(-1)
    reduced = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}
    return reduced[reduction].to(input.dtype)


def sparse_gather(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """NLL whose gradient is a sparse tensor."""
    kept = target != ignore_index
    labels = torch.where(kept, target, 0).unsqueeze(1)
    picked = torch.gather(input, 1, labels, sparse_grad=True).squeeze(1)
    losses = widened(torch.where(kept, -picked, 0.0))
    if reduction == "none":
        return losses.to(input.dtype)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"no such reduction: {reduction}")
    return (losses.sum() / (kept.sum() if reduction == "mean" else 1)).to(input.dtype)


UNCHECKED = tuple(
    Expected(
        f"errors.{name}",
        reason="arguments are not looked at before they are used",
        link="https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
    )
    for name in ("target_shape", "weight_size", "target_out_of_range")
)

PLAIN = ("spatial", "unbatched", "soft_target")
NO_IGNORING = (*PLAIN, "ignore_minus_100")
IMPLEMENTATIONS = (
    variant(
        __name__,
        "tokens_counted",
        lacks=("reduction_none", "reduction_sum", "soft_target", "unbatched"),
        expected=(*EAGER[:1], UINT8),
    ),
    variant(
        __name__,
        "weights_in_their_dtype",
        precision="rounded_rows",
        lacks=PLAIN,
        expected=(*EAGER[:1], *UNCHECKED),
    ),
    variant(__name__, "indexed", lacks=NO_IGNORING, expected=UNCHECKED),
    variant(__name__, "differences", lacks=PLAIN, expected=UNCHECKED),
    variant(__name__, "batched_product", lacks=NO_IGNORING, expected=(PRODUCT, *UNCHECKED)),
    variant(
        __name__,
        "sparse_gather",
        family="nll",
        lacks=PLAIN[:2],
        dtypes=("float64", "float32", "bfloat16"),  # torch adds no sparse float16
        expected=(SPARSE, *UNCHECKED[:1]),
    ),
)
