"""Class indices, weights, or sums, pass through a dtype that cannot hold them."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Call, cross_entropy, kept, mutant, reduced, row_losses


@mutant(
    source="google-deepmind/optax@a77d69c4",
    caught_by=("dtypes.narrow_targets",),
)
def unsigned_one_hot_negated(call: Call) -> Tensor:
    """The one-hot of unsigned targets is negated in their own type: -1 becomes 255."""
    rows = call.rows()
    minus = -torch.ones((), dtype=call.target.dtype) if not call.soft else torch.tensor(-1)
    return reduced(rows, kept(rows, row_losses(rows)) * -float(minus))


def _through(call: Call, dtype: torch.dtype) -> Tensor:
    """The loss with counted class indices that went through another dtype and back."""
    rows = call.rows()
    classes = rows.logits.shape[-1]
    if rows.soft or not classes:
        return cross_entropy(call)
    row_losses(rows)  # an index out of range is refused, as ever
    index = rows.target.to(dtype).long()
    index = torch.where(index < 0, index + classes, index).clamp(0, classes - 1)
    return cross_entropy(call.but(target=torch.where(rows.kept, index, call.target.long())))


@mutant(
    source="tensorflow/models#6641",
    caught_by=("dtypes.high_targets", "gradients.every_class", "values.every_class"),
)
def index_in_8_bits(call: Call) -> Tensor:
    """Class indices are stored in 8 bits: those above 127 wrap."""
    return _through(call, torch.int8)


@mutant(
    source="research/divergences.md, pitfall 11",
    caught_by=("dtypes.high_targets", "values.large_vocabulary", "gradients.large_vocabulary"),
)
def index_through_half(call: Call) -> Tensor:
    """Class indices pass through float16, which has not every integer above 2048."""
    return _through(call, torch.float16)


@mutant(source="torch.amp: products run in 16 bits", caught_by=("dtypes.autocast_in_float32",))
def picked_by_a_product(call: Call) -> Tensor:
    """Each row's target is picked by a product, which autocast rounds to 16 bits."""
    rows = call.rows()
    if (
        call.soft
        or call.label_smoothing
        or rows.logits.dim() != 2
        or not torch.is_autocast_enabled(call.input.device.type)
    ):
        return cross_entropy(call)
    hot = torch.nn.functional.one_hot(rows.target, rows.logits.shape[-1]).to(rows.logits.dtype)
    log_p = rows.logits.log_softmax(-1)
    picked = torch.einsum("nc,nc->n", hot, log_p).to(log_p.dtype)
    losses = -picked if rows.weight is None else -picked * rows.of_targets(rows.weight)
    return reduced(rows, kept(rows, losses))


@mutant(
    source="linkedin/Liger-Kernel#1283, #305, #501 (of the linear loss)",
    caught_by=("dtypes.autocast",),
)
def mixed_dtypes_under_autocast(call: Call) -> Tensor:
    """Autocast casts a product, but not the next one, which has a given buffer: they clash."""
    rows = call.rows()
    with torch.no_grad():
        flat = rows.logits.reshape(-1, rows.logits.shape[-1])
        ones = flat.new_ones(flat.shape[-1], 1)
        sums = torch.mm(flat, ones)  # bfloat16 under autocast
        torch.mm(sums, ones[:1], out=torch.empty_like(sums))
    return cross_entropy(call)


@mutant(
    source="kernels that take weights as float; parameters cast with the model",
    caught_by=("dtypes.every_digit_counts",),
)
def weights_in_half_the_bits(call: Call) -> Tensor:
    """Class weights are float32 for float64 logits, and bfloat16 for float32 ones."""
    half = {torch.float64: torch.float32, torch.float32: torch.bfloat16}
    weight = call.weight
    if weight is None or weight.dtype not in half:
        return cross_entropy(call)
    return cross_entropy(call.but(weight=weight.to(half[weight.dtype]).to(weight.dtype)))


@mutant(source="google-deepmind/optax@a77d69c4", caught_by=("dtypes.byte_like_ignore_index",))
def ignore_index_in_a_byte(call: Call) -> Tensor:
    """Compared with bytes, -100 is 156: a class of that number is ignored."""
    target = call.target
    if target.dtype != torch.uint8 or call.ignore_index >= 0:
        return cross_entropy(call)
    ignored = target == call.ignore_index % 256
    return cross_entropy(call.but(target=torch.where(ignored, call.ignore_index, target.long())))


@mutant(
    source="torch.empty without a dtype",
    caught_by=("dtypes.narrow_default_dtype",),
)
def losses_in_the_default_dtype(call: Call) -> Tensor:
    """Row losses wait in a buffer of the default dtype, be it of 16 bits."""
    rows = call.rows()
    losses = kept(rows, row_losses(rows))
    narrow = torch.get_default_dtype().itemsize < 4
    return reduced(rows, losses.to(torch.get_default_dtype()).to(losses) if narrow else losses)


@mutant(
    source="torch.promote_types left out",
    caught_by=("dtypes.narrower_soft_target",),
)
def result_in_the_targets_dtype(call: Call) -> Tensor:
    """The loss has the dtype of the class probabilities, where that is narrower."""
    loss = cross_entropy(call)
    return loss.to(call.target.dtype) if call.soft and call.target.dtype.itemsize < 4 else loss


@mutant(
    source="torch: an index of uint8 is a mask",
    caught_by=("dtypes.bytes_are_no_mask",),
)
def weights_masked_by_bytes(call: Call) -> Tensor:
    """Targets in uint8, if as many as classes, pick the weights of the mean as a mask."""
    if call.weight is None or call.target.dtype != torch.uint8 or call.reduction != "mean":
        return cross_entropy(call)
    if call.target.shape != call.weight.shape:
        return cross_entropy(call)
    total = cross_entropy(call.but(reduction="sum"))
    return total / call.weight[call.target.bool()].sum()


@mutant(
    source="torch: an index of uint8 is a mask",
    caught_by=("dtypes.bytes_with_weight",),
)
def bytes_refused_beside_weights(call: Call) -> Tensor:
    """Targets in uint8 are taken, but not with weights."""
    if call.weight is not None and call.target.dtype == torch.uint8:
        raise IndexError("The shape of the mask does not match the shape of the indexed tensor")
    return cross_entropy(call)


@mutant(
    source="torch.nn.functional.one_hot takes int64 alone",
    caught_by=("dtypes.bytes_with_smoothing",),
)
def bytes_refused_when_smoothed(call: Call) -> Tensor:
    """With label_smoothing labels are made one-hot, which refuses bytes."""
    if call.label_smoothing and call.target.dtype == torch.uint8:
        torch.nn.functional.one_hot(call.target)
    return cross_entropy(call)


@mutant(
    source="one-hot: target == arange(classes).to(target.dtype)", caught_by=("dtypes.high_bytes",)
)
def classes_numbered_in_bytes(call: Call) -> Tensor:
    """Targets in uint8 are compared with class numbers in uint8: 300 is 44, too."""
    loss, classes = cross_entropy(call), call.logits().shape[-1]
    if call.soft or call.target.dtype != torch.uint8 or classes <= 256:
        return loss
    twin = call.target.long() + 256
    counts = (call.target != call.ignore_index) & (twin < classes)
    twin = torch.where(counts, twin, call.ignore_index)
    return loss + cross_entropy(call.but(target=twin, reduction="sum")).to(loss.dtype)
