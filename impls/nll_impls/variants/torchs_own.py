"""PyTorch's own functions, put together in other ways than its own."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._checked import check
from ._declare import COMPOSED, EAGER, EAGER_HALF, IMAGES_ON_GPU, ONE_SAMPLE_ON_GPU, variant


def nll_of_log_softmax(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """``nll_loss`` of ``log_softmax``, class indices only, in the input's own dtype."""
    log_p = F.log_softmax(input, 1 if input.dim() > 1 else 0)
    return F.nll_loss(log_p, target, weight, None, ignore_index, None, reduction)


def _wide(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def float64_inside(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Everything in double precision, the result rounded to the input's dtype."""
    soft = target.is_floating_point()
    loss = F.cross_entropy(
        input.double(),
        target.double() if soft else target,
        _wide(weight, torch.float64),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return loss.to(input.dtype)


def float32_result(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """16-bit logits have a loss in float32."""
    compute = torch.promote_types(input.dtype, torch.float32)
    soft = target.is_floating_point()
    return F.cross_entropy(
        input.to(compute),
        target.to(compute) if soft else target,
        _wide(weight, compute),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def rounded_rows(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Row losses in the input's dtype, added up in float32, divided by the kept weight."""
    rows = float32_result(input, target, weight, ignore_index, "none", label_smoothing)
    rows = rows.to(input.dtype)
    if reduction == "none":
        return rows
    if reduction not in ("sum", "mean"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    compute = torch.promote_types(input.dtype, torch.float32)
    total = rows.to(compute).sum()
    if reduction == "sum":
        return total.to(input.dtype)
    if target.is_floating_point():
        return (total / rows.numel()).to(input.dtype)
    kept = target != ignore_index
    if weight is None:
        return (total / kept.sum()).to(input.dtype)
    counted = weight.to(compute)[target.long().where(kept, 0)].where(kept, 0.0)
    return (total / counted.sum()).to(input.dtype)


def _nothing_to_count(target: Tensor, ignore_index: int) -> bool:
    if target.is_floating_point():
        return target.numel() == 0
    return not bool((target != ignore_index).any())


def zero_of_nothing(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean over no rows is zero, with zero gradient."""
    if reduction == "mean" and _nothing_to_count(target, ignore_index):
        reduction = "sum"
    return float32_result(input, target, weight, ignore_index, reduction, label_smoothing).to(
        input.dtype
    )


def zero_undeclared(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """As ``zero_of_nothing``, of which it tells nobody."""
    return zero_of_nothing(input, target, weight, ignore_index, reduction, label_smoothing)


def indices_as_probabilities(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Class indices become probabilities, weight and smoothing are mixed in by hand."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dim = 1 if input.dim() > 1 else 0
    classes = input.shape[dim]
    compute = torch.promote_types(input.dtype, torch.float32)
    logits, counted = input.to(compute), input.new_ones((), dtype=compute)
    if target.is_floating_point():
        hot = target.to(compute)
        kept = torch.ones_like(hot.select(dim, 0), dtype=torch.bool)
    else:
        kept = target != ignore_index
        hot = F.one_hot(target.long().where(kept, 0), classes).to(compute).movedim(-1, dim)
        if weight is not None:
            counted = weight.to(compute)[target.long().where(kept, 0)]
    logits = logits.where(kept.unsqueeze(dim), 0.0)
    share = hot * (1.0 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        share = share * weight.to(compute).reshape([-1] + [1] * (input.dim() - 1 - dim))
    # a class at -inf of no share adds nothing
    logits = logits.log_softmax(dim)
    logits = logits.masked_fill(torch.isneginf(logits) & (share == 0), 0.0)
    rows = -(share * logits).sum(dim)
    rows = rows.where(kept, 0.0)
    if reduction == "none":
        return rows.to(input.dtype)
    if reduction == "sum":
        return rows.sum().to(input.dtype)
    return (rows.sum() / counted.expand_as(rows).where(kept, 0.0).sum()).to(input.dtype)


def one_image(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """All rows become the pixels of one image (1, C, R, 1)."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    classes_first = input.movedim(1, 0) if input.dim() > 1 else input
    image = classes_first.reshape(1, len(classes_first), -1, 1).contiguous()
    soft = target.is_floating_point()
    if soft:
        labels = target.movedim(1, 0) if target.dim() > 1 else target
        labels = labels.reshape(1, len(labels), -1, 1).contiguous()
    else:
        labels = target.reshape(1, -1, 1).contiguous()
    loss = float32_result(image, labels, weight, ignore_index, reduction, label_smoothing)
    if reduction == "none":
        loss = loss.reshape(classes_first.shape[1:])
    return loss.to(input.dtype)


class CrossEntropyModule(nn.Module):
    """Options to the constructor, the weight a buffer, tensors to ``forward``."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of these tensors under the options of the constructor."""
        return float64_inside(
            input,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
        )


smoothed_instance = nn.CrossEntropyLoss(label_smoothing=0.1)
summed_partial = functools.partial(float64_inside, reduction="sum", label_smoothing=0.2)
padded_partial = functools.partial(float64_inside, ignore_index=0)


def deprecated_arguments(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The whole signature of PyTorch's function, the deprecated arguments too."""
    if size_average is not None or reduce is not None:
        average = size_average is not False
        reduction = "none" if reduce is False else "mean" if average else "sum"
    return float64_inside(input, target, weight, ignore_index, reduction, label_smoothing)


ZERO = {"all_ignored_mean": "zero", "empty_mean": "zero"}

IMPLEMENTATIONS = (
    variant(
        __name__,
        "nll_of_log_softmax",
        precision="input_dtype",
        lacks=("soft_target",),
        promises=(*COMPOSED, "vmap"),
        expected=EAGER_HALF,
    ),
    variant(__name__, "float64_inside", promises=COMPOSED, expected=EAGER),
    variant(
        __name__,
        "float32_result",
        divergences={"half_output": "float32"},
        promises=COMPOSED,
        expected=EAGER,
    ),
    variant(__name__, "rounded_rows", precision="rounded_rows", promises=COMPOSED, expected=EAGER),
    variant(__name__, "zero_of_nothing", divergences=ZERO, expected=EAGER),
    variant(__name__, "zero_undeclared", precision=None, expected=EAGER),
    variant(__name__, "indices_as_probabilities", promises=COMPOSED),
    variant(__name__, "one_image", expected=(*EAGER, IMAGES_ON_GPU)),
    variant(__name__, "CrossEntropyModule", name="module_class", expected=EAGER),
    variant(
        __name__,
        "smoothed_instance",
        precision="input_dtype",
        promises=COMPOSED,
        expected=EAGER_HALF,
    ),
    variant(__name__, "summed_partial", expected=EAGER),
    variant(
        __name__,
        "padded_partial",
        lacks=("ignore_minus_100", "soft_target"),
        expected=(*EAGER, replace(ONE_SAMPLE_ON_GPU, rule="weight.unbatched_row")),
    ),
    variant(__name__, "deprecated_arguments", expected=EAGER),
)
