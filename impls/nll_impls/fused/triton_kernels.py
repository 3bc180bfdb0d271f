"""The kernels in Triton: a program for each row, which walks over blocks of classes.

``Tensor`` arguments are contiguous; see :mod:`nll_impls.fused.kernels` for the words.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit  # Triton has no types
def _row_sums(
    logits: Any,
    share: Any,
    classes: Any,
    block: tl.constexpr,
    shared: tl.constexpr,
    wide: tl.constexpr,
) -> Any:
    """Top, total, mass and cross of the row at ``logits``, without its target."""
    top = tl.full((), -float("inf"), wide)
    total = tl.zeros((), wide)
    for low in range(0, classes, block):
        at = low + tl.arange(0, block)
        x = tl.load(logits + at, mask=at < classes, other=-float("inf")).to(wide)
        higher = tl.maximum(top, tl.max(x, 0))
        shift = tl.where(higher == -float("inf"), tl.zeros((), wide), higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift), 0)
        top = higher
    mass = tl.zeros((), wide)
    cross = tl.zeros((), wide)
    if shared:
        for low in range(0, classes, block):
            at = low + tl.arange(0, block)
            x = tl.load(logits + at, mask=at < classes, other=0.0).to(wide)
            part = tl.load(share + at, mask=at < classes, other=0.0)
            mass += tl.sum(part, 0)
            cross += tl.sum(tl.where(part == 0, tl.zeros((block,), wide), part * (x - top)), 0)
    return top, total, mass, cross


@triton.jit  # Triton has no types
def sweep(
    logits: Any,
    share: Any,
    share_stride: Any,
    kept: Any,
    at_target: Any,
    parts: Any,
    found: Any,
    pull: Any,
    gradient: Any,
    rows: Any,
    classes: Any,
    block: tl.constexpr,
    shared: tl.constexpr,
    wide: tl.constexpr,
    sums: tl.constexpr,
    gradients: tl.constexpr,
) -> None:
    """What is asked for of one row: ``sums`` to ``found`` (4, rows), or from there the gradient."""
    n = tl.program_id(0).to(tl.int64)
    logits += n * classes
    share += n * share_stride
    gradient += n * classes
    is_kept = tl.load(kept + n) != 0
    t = tl.load(at_target + n)
    part_t = tl.load(parts + n)
    if sums:
        top, total, mass, cross = _row_sums(logits, share, classes, block, shared, wide)
        below = tl.load(logits + t).to(wide) - top
        nothing = (part_t == 0) & (below == -float("inf"))
        mass += part_t
        cross += tl.where(nothing, tl.zeros((), wide), part_t * below)
        # found is where only rows that count have left NaN and infinities
        tl.store(found + n, tl.where(is_kept, top, 0.0))
        tl.store(found + rows + n, tl.where(is_kept, total, 1.0))
        tl.store(found + 2 * rows + n, tl.where(is_kept, mass, 0.0))
        tl.store(found + 3 * rows + n, tl.where(is_kept, cross, 0.0))
    else:
        top = tl.load(found + n).to(wide)
        total = tl.load(found + rows + n).to(wide)
        mass = tl.load(found + 2 * rows + n).to(wide)
    if gradients:
        pulled = tl.load(pull + n)
        for low in range(0, classes, block):
            at = low + tl.arange(0, block)
            inside = at < classes
            x = tl.load(logits + at, mask=inside, other=0.0).to(wide)
            value = mass * (tl.exp(x - top) / total) - tl.where(at == t, part_t, 0.0)
            if shared:
                value -= tl.load(share + at, mask=inside, other=0.0)
            value = tl.where(is_kept, value * pulled, 0.0)
            tl.store(gradient + at, value.to(gradient.dtype.element_ty), mask=inside)
