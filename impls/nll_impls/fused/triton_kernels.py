"""The kernels in Triton: one program for all targets, then one for each row of logits.

``Tensor`` arguments are contiguous; see :mod:`nll_impls.fused.kernels` for the words.  A row that
is ``whole`` fits in a block and is read once; others are walked through in blocks, and once more,
backwards, for the gradient: what was read last is in the cache still.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

# Triton looks up the names in annotations, and finds only those of its own modules.  Branches
# are decided when a kernel is compiled.


@triton.jit(do_not_specialize=["rows", "ignore_index"])  # Triton has no types
def survey(
    target: tl.tensor,
    weight: tl.tensor,
    found: tl.tensor,
    right: tl.tensor,
    rows: tl.tensor,
    classes: tl.tensor,
    ignore_index: tl.tensor,
    block: tl.constexpr,
    weighted: tl.constexpr,
) -> None:
    """To ``found`` the weight of the counted rows, to ``right`` whether all targets are classes."""
    counted = tl.zeros((block,), tl.float64)
    wrong = tl.zeros((block,), tl.float64)
    for low in range(0, rows, block):
        at = low + tl.arange(0, block)
        label = tl.load(target + at, mask=at < rows, other=0)
        kept = (at < rows) & (label != ignore_index)
        good = (label >= 0) & (label < classes)
        wrong += tl.where(kept & (good == 0), 1.0, 0.0)
        each = tl.full((block,), 1.0, tl.float64)
        if weighted:
            each = tl.load(weight + label, mask=kept & good, other=0.0)
        counted += tl.where(kept, each, 0.0)
    tl.store(found, tl.sum(counted, 0))
    tl.store(right, tl.sum(wrong, 0) == 0)


@triton.jit(do_not_specialize=["size"])  # Triton has no types
def times(gradient: tl.tensor, factor: tl.tensor, size: tl.tensor, block: tl.constexpr) -> None:
    """Multiply ``gradient`` (size,) by ``factor``; the programs take turns at its blocks."""
    scale = tl.load(factor)
    if scale != 1.0:
        stride = tl.num_programs(0).to(tl.int64) * block
        for low in range(tl.program_id(0).to(tl.int64) * block, size, stride):
            at = low + tl.arange(0, block)
            x = tl.load(gradient + at, mask=at < size)
            tl.store(gradient + at, x * scale, mask=at < size)


@triton.jit  # Triton has no types
def _with_block(top: tl.tensor, total: tl.tensor, x: tl.tensor, wide: tl.constexpr) -> Any:
    """Top and total with the logits ``x`` of one more block, and its exponentials."""
    higher = tl.maximum(top, tl.max(x, 0))
    shift = tl.where(higher == -float("inf"), tl.zeros((), wide), higher)
    powers = tl.exp(x - shift)
    return higher, total * tl.exp(top - shift) + tl.sum(powers, 0), powers


@triton.jit  # Triton has no types
def _shares(x: tl.tensor, top: tl.tensor, part: tl.tensor) -> Any:
    """What a block adds to mass and cross, where its classes have probabilities ``part``."""
    distance = tl.where(part == 0, tl.zeros_like(x), part * (x - top))
    return tl.sum(part, 0), tl.sum(distance, 0)


@triton.jit  # Triton has no types
def _label(
    target: tl.tensor,
    weight: tl.tensor,
    hard: tl.tensor,
    n: tl.tensor,
    ignore_index: tl.tensor,
    labelled: tl.constexpr,
    weighted: tl.constexpr,
    shared: tl.constexpr,
    wide: tl.constexpr,
) -> Any:
    """Whether row ``n`` counts, its target and what stands there."""
    t = tl.zeros((), tl.int64)
    part = tl.zeros((), wide)
    kept = t == 0
    if labelled:
        label = tl.load(target + n)
        kept = label != ignore_index
        t = tl.where(kept, label, 0)
        part = tl.full((), 1.0, wide)
        if weighted:
            part = tl.load(weight + t).to(wide)
        if shared:
            part = part * tl.load(hard).to(wide)
        part = tl.where(kept, part, 0.0)
    return kept, t.to(tl.int32), part


@triton.jit  # Triton has no types
def _to_target(top: tl.tensor, part: tl.tensor, x: tl.tensor, wide: tl.constexpr) -> Any:
    """What the target, whose logit is ``x``, adds to cross."""
    below = x.to(wide) - top
    nothing = (part == 0) & (below == -float("inf"))
    return tl.where(nothing, tl.zeros((), wide), part * below)


@triton.jit  # Triton has no types
def _keep(
    found: tl.tensor,
    rows: tl.tensor,
    kept: tl.tensor,
    top: tl.tensor,
    total: tl.tensor,
    mass: tl.tensor,
    cross: tl.tensor,
    gradients: tl.constexpr,
) -> None:
    """To ``found`` at a row, where only rows that count leave NaN and infinities.

    The last of the four is the loss itself where nobody will ask for the gradient again.
    """
    tl.store(found, tl.where(kept, top, 0.0))
    tl.store(found + rows, tl.where(kept, total, 1.0))
    tl.store(found + 2 * rows, tl.where(kept, mass, 0.0))
    if gradients:
        cross = mass.to(tl.float64) * tl.log(total.to(tl.float64)) - cross.to(tl.float64)
    tl.store(found + 3 * rows, tl.where(kept, cross, 0.0))


@triton.jit  # Triton has no types
def _known(found: tl.tensor, rows: tl.tensor, wide: tl.constexpr) -> Any:
    """Top, total and mass of a row, from an earlier sweep."""
    top = tl.load(found).to(wide)
    return top, tl.load(found + rows).to(wide), tl.load(found + 2 * rows).to(wide)


@triton.jit  # Triton has no types
def _whole_row(
    logits: tl.tensor,
    share: tl.tensor,
    found: tl.tensor,
    pulled: tl.tensor,
    gradient: tl.tensor,
    rows: tl.tensor,
    classes: tl.tensor,
    kept: tl.tensor,
    t: tl.tensor,
    part_t: tl.tensor,
    block: tl.constexpr,
    shared: tl.constexpr,
    wide: tl.constexpr,
    sums: tl.constexpr,
    gradients: tl.constexpr,
) -> None:
    at = tl.arange(0, block)
    x = tl.load(logits + at, mask=at < classes, other=-float("inf")).to(wide)
    if shared:
        part = tl.load(share + at, mask=at < classes, other=0.0)
    if sums:
        nothing = tl.zeros((), wide)
        top, total, powers = _with_block(nothing - float("inf"), nothing, x, wide)
        mass = part_t
        cross = _to_target(top, part_t, tl.load(logits + t), wide)
        if shared:
            more, farther = _shares(x, top, part)
            mass += more
            cross += farther
        _keep(found, rows, kept, top, total, mass, cross, gradients)
    else:
        top, total, mass = _known(found, rows, wide)
        powers = tl.exp(x - top)
    if gradients:
        less = tl.where(at == t, part_t, 0.0)
        if shared:
            less += part
        slope = tl.where(kept, (powers * (mass / total) - less) * pulled, 0.0)
        tl.store(gradient + at, slope.to(gradient.dtype.element_ty), mask=at < classes)


@triton.jit  # Triton has no types
def _row_in_blocks(
    logits: tl.tensor,
    share: tl.tensor,
    found: tl.tensor,
    pulled: tl.tensor,
    gradient: tl.tensor,
    rows: tl.tensor,
    classes: tl.tensor,
    kept: tl.tensor,
    t: tl.tensor,
    part_t: tl.tensor,
    block: tl.constexpr,
    shared: tl.constexpr,
    wide: tl.constexpr,
    sums: tl.constexpr,
    gradients: tl.constexpr,
) -> None:
    blocks = tl.cdiv(classes, block)
    if sums:
        total = tl.zeros((), wide)
        top = total - float("inf")
        for i in range(blocks):
            at = i * block + tl.arange(0, block)
            x = tl.load(logits + at, mask=at < classes, other=-float("inf")).to(wide)
            top, total, _ = _with_block(top, total, x, wide)
        mass = part_t
        cross = _to_target(top, part_t, tl.load(logits + t), wide)
        if shared:
            for i in range(blocks):
                at = i * block + tl.arange(0, block)
                x = tl.load(logits + at, mask=at < classes, other=0.0).to(wide)
                part = tl.load(share + at, mask=at < classes, other=0.0)
                more, farther = _shares(x, top, part)
                mass += more
                cross += farther
        _keep(found, rows, kept, top, total, mass, cross, gradients)
    else:
        top, total, mass = _known(found, rows, wide)
    if gradients:
        scale = mass / total
        for i in range(blocks):
            at = (blocks - 1 - i) * block + tl.arange(0, block)
            x = tl.load(logits + at, mask=at < classes, other=0.0).to(wide)
            less = tl.where(at == t, part_t, 0.0)
            if shared:
                less += tl.load(share + at, mask=at < classes, other=0.0)
            slope = tl.where(kept, (tl.exp(x - top) * scale - less) * pulled, 0.0)
            tl.store(gradient + at, slope.to(gradient.dtype.element_ty), mask=at < classes)


@triton.jit(do_not_specialize=["rows", "ignore_index"])  # Triton has no types
def sweep(
    logits: tl.tensor,
    target: tl.tensor,
    weight: tl.tensor,
    share: tl.tensor,
    hard: tl.tensor,
    found: tl.tensor,
    pull: tl.tensor,
    unless_one: tl.tensor,
    gradient: tl.tensor,
    rows: tl.tensor,
    classes: tl.tensor,
    ignore_index: tl.tensor,
    block: tl.constexpr,
    whole: tl.constexpr,
    labelled: tl.constexpr,
    weighted: tl.constexpr,
    shared: tl.constexpr,
    each_share: tl.constexpr,
    each_pull: tl.constexpr,
    wide: tl.constexpr,
    skips: tl.constexpr,
    sums: tl.constexpr,
    gradients: tl.constexpr,
) -> None:
    """What is asked for of one row: ``sums`` to ``found`` (4, rows), or from there the gradient.

    Nothing where it ``skips`` and ``unless_one`` () is 1.
    """
    if skips:  # noqa: SIM102 - Triton decides the first when it compiles
        if tl.load(unless_one) == 1.0:
            return
    n = tl.program_id(0).to(tl.int64)
    logits += n * classes
    share += n * classes * each_share
    gradient += n * classes
    found += n
    pulled = tl.zeros((), wide)
    if gradients:
        pulled = tl.load(pull + n * each_pull).to(wide)
    kept, t, part_t = _label(
        target, weight, hard, n, ignore_index, labelled, weighted, shared, wide
    )
    # fmt: off
    if whole:
        _whole_row(
            logits, share, found, pulled, gradient, rows, classes, kept, t, part_t,
            block, shared, wide, sums, gradients,
        )
    else:
        _row_in_blocks(
            logits, share, found, pulled, gradient, rows, classes, kept, t, part_t,
            block, shared, wide, sums, gradients,
        )
    # fmt: on
