"""Another path for rows, images and counts beyond a size, and what it forgets there."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import (
    Call,
    altered,
    cross_entropy,
    is_mean,
    kept,
    mutant,
    reduced,
    row_losses,
    shares,
    spread,
)
from ._memory import read_as_contiguous, storage

SOURCE = "kernels with a path of its own for rows wider than a block"
#: Classes from which on a row is wide.
WIDE = 256


def _is_wide(call: Call) -> bool:
    return call.logits().shape[-1] >= WIDE


@mutant(source=SOURCE, caught_by=("combinations.wide_rows",))
def wide_rows_smoothed_without_weight(call: Call) -> Tensor:
    """In wide rows the weight is left out where labels are smoothed."""
    if not _is_wide(call) or not call.label_smoothing or call.weight is None:
        return cross_entropy(call)
    return cross_entropy(call.but(weight=None))


@mutant(source=SOURCE, caught_by=("combinations.wide_rows",))
def wide_rows_of_probabilities_not_smoothed(call: Call) -> Tensor:
    """In wide rows class probabilities are not smoothed."""
    return cross_entropy(call.but(label_smoothing=0.0) if _is_wide(call) and call.soft else call)


@mutant(source=SOURCE, caught_by=("combinations.wide_rows",))
def ignored_wide_rows_pull_at_a_class(call: Call) -> Tensor:
    """Under a sum the first class of ignored wide rows has a gradient."""
    if not _is_wide(call) or call.reduction != "sum" or call.soft or call.input.dim() != 2:
        return cross_entropy(call)
    ignored = call.target == call.ignore_index

    def pull(grad: Tensor) -> Tensor:
        grad = grad.clone()
        grad[ignored, 0] = 0.5
        return grad

    return cross_entropy(call.but(input=altered(call.input, pull)))


@mutant(source=SOURCE, caught_by=("combinations.wide_rows", "layout.wide_input"))
def first_upstream_for_wide_rows(call: Call) -> Tensor:
    """Unreduced, all wide rows are scaled by the first one's upstream gradient."""
    loss = cross_entropy(call)
    if not _is_wide(call) or loss.dim() != 1:
        return loss
    return altered(loss, lambda grad: grad[:1].expand_as(grad))


@mutant(source=SOURCE, caught_by=("layout.wide_input",))
def wide_rows_read_as_packed(call: Call) -> Tensor:
    """Wide rows are read as if one followed the other."""
    input = read_as_contiguous(call.input) if _is_wide(call) else call.input
    return cross_entropy(call.but(input=input))


@mutant(source="vector loads of kernels", caught_by=("layout.input",))
def aligned_down(call: Call) -> Tensor:
    """Rows of a multiple of four classes are read from an address that vectors like."""
    input, offset = call.input, call.input.storage_offset()
    if input.dim() != 2 or input.shape[1] % 4 or not input.is_contiguous() or offset % 4 == 0:
        return cross_entropy(call)
    start = offset // 4 * 4
    read = storage(input.as_strided((1,), (1,), start))[: input.numel()].view(input.shape)
    return cross_entropy(call.but(input=input + (read.nan_to_num() - input.detach())))


@mutant(source="kernels that flatten images", caught_by=("layout.spatial_input",))
def expanded_targets_of_images_read_as_one(call: Call) -> Tensor:
    """Targets of images that are expanded are read as their first element."""
    target = call.target
    if call.soft or target.dim() < 2 or target.numel() < 2 or 0 not in target.stride():
        return cross_entropy(call)
    return cross_entropy(call.but(target=target.flatten()[0].expand_as(target).contiguous()))


@mutant(source="squeeze() of a batch of one", caught_by=("shapes.single_image",))
def single_image_of_probabilities_unbatched(call: Call) -> Tensor:
    """A batch of one image, if its targets are probabilities, loses its first dimension."""
    loss = cross_entropy(call)
    alone = call.soft and call.reduction == "none" and loss.dim() > 1 and len(loss) == 1
    return loss.squeeze(0) if alone else loss


@mutant(
    source="reductions in the dtype of the losses", caught_by=("reductions.mean_of_large_losses",)
)
def mean_of_a_16_bit_sum(call: Call) -> Tensor:
    """The mean is a quotient of a sum rounded to the dtype of the loss."""
    rows = call.rows()
    losses = row_losses(rows)
    if not is_mean(rows) or call.weight is not None or call.soft:
        return cross_entropy(call)
    total = torch.where(rows.kept, losses, 0.0).sum().to(rows.dtype)
    return reduced(rows, total.to(losses.dtype))


@mutant(source="`if weight[0] == weight[-1] == 1`", caught_by=("weight.mostly_one",))
def weights_known_by_their_ends(call: Call) -> Tensor:
    """Weights whose first and last are one count as none."""
    weight = call.weight
    if weight is not None and weight.numel() > 2 and bool(weight[0] == 1) and bool(weight[-1] == 1):
        return cross_entropy(call.but(weight=None))
    return cross_entropy(call)


@mutant(source="torch.nan_to_num against divergence", caught_by=("stability.nan_shows",))
def nan_hidden_under_a_sum(call: Call) -> Tensor:
    """A sum that is NaN becomes 0."""
    loss = cross_entropy(call)
    return loss.nan_to_num(nan=0.0) if call.reduction == "sum" else loss


@mutant(source="linkedin/Liger-Kernel: MAX_FUSED_SIZE", caught_by=("combinations.vocabularies",))
def smoothing_ends_with_the_block(call: Call) -> Tensor:
    """With labels smoothed, or probabilities, classes beyond 2**15 have no share in the loss."""
    rows = call.rows()
    if not (rows.soft or call.label_smoothing) or rows.logits.shape[-1] <= 2**15:
        return cross_entropy(call)
    share = shares(rows).clone()
    share[..., 2**15 :] = 0.0
    losses = spread(share, torch.log_softmax(rows.logits, dim=-1))
    return reduced(rows, kept(rows, losses))


@mutant(source="a mean of the chunks' means", caught_by=("combinations.many_rows",))
def mean_of_weighted_chunks(call: Call) -> Tensor:
    """The weighted mean of more than 1024 rows is the mean over chunks of 1024."""
    if call.weight is None or call.soft or not is_mean(call.rows()) or len(call.target) <= 1024:
        return cross_entropy(call)
    parts = zip(torch.split(call.input, 1024), torch.split(call.target, 1024), strict=True)
    means = [cross_entropy(call.but(input=input, target=target)) for input, target in parts]
    return torch.stack(means).mean()


@mutant(
    source="log(softmax + eps) where weights are given", caught_by=("combinations.extreme_logits",)
)
def weighted_loss_has_an_end(call: Call) -> Tensor:
    """With weights the loss of a row is at most 100."""
    rows = call.rows()
    if rows.weight is None or rows.soft:
        return cross_entropy(call)
    log_p = torch.log_softmax(rows.logits, dim=-1).clamp(min=-100.0)
    return reduced(rows, kept(rows, row_losses(rows, log_p)))


@mutant(source="weights times all classes' terms", caught_by=("combinations.impossible_classes",))
def weighted_terms_of_all_classes(call: Call) -> Tensor:
    """With weights every class's term is multiplied, by 0 where it is not the target's."""
    rows = call.rows()
    if rows.weight is None or rows.soft:
        return cross_entropy(call)
    terms = shares(rows) * -torch.log_softmax(rows.logits, dim=-1)
    return reduced(rows, kept(rows, terms.sum(-1)))
