"""Other ways to get there: recomputation, threads, vmap, halves, pieces of rows, a compiler."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..losses.rows import Rows
from ._checked import check
from ._declare import COMPOSED, EAGER, variant
from ._engine import by_hand
from .torchs_own import float64_inside


def recomputed(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Nothing is kept for backward, which runs forward again."""
    # the caller may change his own before backward
    labels = target if target.requires_grad else target.clone()
    own = None if weight is None else weight.clone()

    def again(logits: Tensor, labels: Tensor) -> Tensor:
        rows = Rows.of(logits, labels, own, ignore_index, reduction, label_smoothing).wide()
        return rows.reduced(rows.losses(rows.logits.log_softmax(-1), torch.neg))

    loss: Tensor = checkpoint(again, input, labels, use_reentrant=False, preserve_rng_state=False)
    return loss


def _threaded(x: Tensor) -> tuple[Tensor, Tensor]:
    parts = torch.split(x, max(1, -(-len(x) // 3)))

    def one(part: Tensor) -> Tensor:
        with torch.no_grad():
            return part - part.logsumexp(1, keepdim=True)

    with ThreadPoolExecutor(2) as pool:
        log_p = torch.cat(list(pool.map(one, parts)))
    return log_p, log_p.exp()


def _python_floats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Exactly rounded sums of Python floats."""
    table: list[list[float]] = []
    for row in x.tolist():
        top = max(row)
        others = sorted(math.exp(value - top) for value in row)[:-1]
        log_sum = math.log1p(math.fsum(others))
        table.append([(value - top) - log_sum for value in row])
    wide = torch.tensor(table, dtype=torch.float64, device=x.device).reshape(x.shape)
    return wide.to(x.dtype), wide.exp().to(x.dtype)


def _numpy(x: Tensor) -> tuple[Tensor, Tensor]:
    """Outside of torch altogether; NumPy's accumulate adds one class at a time."""
    import numpy as np

    data = x.detach().cpu().numpy()
    shifted = data - data.max(1, keepdims=True)
    terms = np.exp(shifted)
    s = np.add.accumulate(terms, axis=1)[:, -1:]
    log_p, p = torch.from_numpy(shifted - np.log(s)), torch.from_numpy(terms / s)
    return log_p.to(x.device), p.to(x.device)


def vmapped(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """One unbatched row, mapped over all of them."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    classes = rows.logits.shape[-1]
    if rows.logits.numel() == 0:
        return rows.reduced(rows.losses(rows.logits, torch.neg))

    def one(logits: Tensor) -> Tensor:
        return logits - logits.logsumexp(0)

    log_p = torch.func.vmap(one)(rows.logits.reshape(-1, classes))
    return rows.reduced(rows.losses(log_p.reshape(rows.logits.shape), torch.neg))


def by_halves(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The batch is halved until few rows are left; sums of halves are added."""
    rows = Rows.of(input, target, weight, ignore_index, "none", label_smoothing).wide()
    below = Rows.of(input, target, weight, ignore_index, "mean", label_smoothing).wide()
    losses = rows.losses(rows.logits.log_softmax(-1), torch.neg)
    losses = torch.where(rows.kept, losses, 0.0)
    if reduction == "none":
        return losses.to(input.dtype)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"{reduction} is not a valid value for reduction")

    def total(part: Tensor) -> Tensor:
        if part.numel() <= 2:
            return part.sum()
        middle = part.numel() // 2
        return total(part[:middle]) + total(part[middle:])

    result = total(losses.reshape(-1))
    if reduction == "mean":
        counted = below.kept.to(losses.dtype)
        if below.weight is not None and not below.soft:
            counted = torch.where(below.kept, below.weight[below.target], 0.0)
        result = result / total(counted.reshape(-1))
    return result.to(input.dtype)


def class_chunks(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Maximum, sum and target's logit gathered chunk by chunk of seven classes."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    top = rows.logits.detach().amax(-1, keepdim=True)
    shifted = rows.logits - torch.where(torch.isneginf(top), 0.0, top)
    sums = [chunk.exp().sum(-1) for chunk in torch.split(shifted, 7, -1)]
    log_sum = torch.stack(sums).sum(0).log().unsqueeze(-1)
    return rows.reduced(rows.losses(shifted, lambda values: log_sum - values))


def row_chunks(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Each chunk of five rows has a sum and a count; their totals are divided once."""
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    parts = []
    for chunk in rows.split(5):
        log_p = chunk.logits - chunk.logits.logsumexp(-1, keepdim=True)
        parts.append(chunk.losses(log_p, torch.neg))
    return rows.reduced(torch.cat(parts).reshape(rows.kept.shape))


def only_kept_rows(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Ignored rows are cut out before anything is computed."""
    check(input, target, weight, ignore_index, reduction, label_smoothing)
    dim = 1 if input.dim() > 1 else 0
    x = input.movedim(dim, -1).reshape(-1, input.shape[dim])
    if target.is_floating_point():
        labels = target.movedim(dim, -1).reshape(x.shape)
        shape, chosen = target.movedim(dim, -1).shape[:-1], torch.arange(len(x), device=x.device)
    else:
        labels, shape = target.reshape(-1), target.shape
        chosen = torch.nonzero(labels != ignore_index).squeeze(1)
    options = {"label_smoothing": label_smoothing, "ignore_index": ignore_index}
    kept, asked = x[chosen], labels[chosen]
    if reduction != "none":
        return float64_inside(kept, asked, weight, reduction=reduction, **options)  # type: ignore[arg-type]
    losses = float64_inside(kept, asked, weight, reduction="none", **options)  # type: ignore[arg-type]
    return x.new_zeros(len(x)).index_put((chosen,), losses).reshape(shape)


def like_a_kernel(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Two dimensions and class indices, as fused kernels have it; asserts the rest away."""
    assert input.dim() == 2 and target.dim() == 1 and not target.is_floating_point()
    assert reduction in ("none", "sum", "mean")
    rows = Rows.of(input, target, None, ignore_index, reduction).wide()
    log_p = rows.logits.log_softmax(-1)
    return rows.reduced(rows.losses(log_p, torch.neg))


def like_a_language_model(input: Tensor, target: Tensor, ignore_index: int = -100) -> Tensor:
    """The mean over tokens and no option beside the padding's label."""
    dim = 1 if input.dim() > 1 else 0
    tokens = input.movedim(dim, -1).reshape(-1, input.shape[dim]).float()
    if input.dtype == torch.float64:
        tokens = input.movedim(dim, -1).reshape(-1, input.shape[dim])
    return F.cross_entropy(tokens, target.reshape(-1), ignore_index=ignore_index).to(input.dtype)


def values_only(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """A metric: no gradient ever."""
    with torch.no_grad():
        return float64_inside(input, target, weight, ignore_index, reduction, label_smoothing)


_COMPILED: list[Callable[..., Tensor]] = []


def compiled(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``torch.compile`` of the row losses, shapes dynamic; compiled at the first call."""
    if not _COMPILED:
        _COMPILED.append(torch.compile(_log_softmax, dynamic=True))
    rows = Rows.of(input, target, weight, ignore_index, reduction, label_smoothing).wide()
    logits = rows.logits
    log_p = logits
    if logits.numel():
        log_p = _COMPILED[0](logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)
    return rows.reduced(rows.losses(log_p, torch.neg))


def _log_softmax(logits: Tensor) -> Tensor:
    return logits - logits.logsumexp(1, keepdim=True)


threaded = by_hand(_threaded)
python_floats = by_hand(_python_floats)
numpy_inside = by_hand(_numpy)

IMPLEMENTATIONS = (
    variant(__name__, "recomputed"),
    variant(__name__, "threaded"),
    variant(__name__, "python_floats", max_elements=5000),
    # A plain installation has no numpy.
    *((variant(__name__, "numpy_inside"),) if importlib.util.find_spec("numpy") else ()),
    variant(__name__, "vmapped"),
    variant(__name__, "by_halves", max_elements=5000),
    variant(__name__, "class_chunks", promises=COMPOSED, max_elements=40_000),
    variant(__name__, "row_chunks", promises=COMPOSED, max_elements=40_000),
    variant(__name__, "only_kept_rows", expected=EAGER),
    variant(
        __name__,
        "like_a_kernel",
        lacks=("spatial", "unbatched", "soft_target"),
        promises=COMPOSED,
    ),
    variant(
        __name__,
        "like_a_language_model",
        lacks=("soft_target", "reduction_none", "reduction_sum"),
        expected=EAGER,
    ),
    variant(__name__, "values_only", lacks=("gradient",), expected=EAGER),
)
SLOW = (variant(__name__, "compiled"),)
