"""Exact value, gradients and admissible error of BCE with logits.

x = input, y = target, w = weight, p = pos_weight (both 1 where absent), s the sigmoid,
sp(x) = log(1 + e^x), m = 1 + (p - 1) y with |m| its size 1 + |p - 1| |y|:

    loss     = w [(1 - y) x + m sp(-x)],  of size A = |1 - y| |x| + |m| sp(-x)
    d input  = w [(1 - y) s(x) - p y s(-x)]
    d target = w [p sp(-x) - sp(x)]

Errors, first order, in roundoffs u of the compute dtype, times |w| (``K0``, ``K1`` of an
exponential, ``KL0``, ``KL1`` of a logarithm as in :mod:`nll_conformance.softmax`):

- loss: 6 A, the logarithm |m| (KL0 + 2 + K0 (1 + |x|) e^-|x| + KL1 log1p(e^-|x|)), and
  2 |x| (1 + |y| + |p y|) because the classic forms max(x, 0) - x y + log1p(e^-|x|) and
  sp(x) - x y cancel where the prediction is right;
- d input: (K0 + K1 |x|) |m| s(x) s(-x) + 6 B, where B = |1 - y| + |m| + 1 + |y| + 2 |p y|
  is absolute: autograd of the loss above subtracts probabilities near 1;
- d target: 6 C + 2 (1 + |p|) (KL0 + 2 + K0), C = sp(x) + |p| sp(-x);
- 16-bit eager steps: 8 A, 6 S, 5 C; there a cancellation is not forgiven:
  S = s(x) + |y|, or (1 + |y| + |p y|) s(x) + |p y| with a pos_weight, as PyTorch computes.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from ... import bounds
from ...bounds import OWN, U64, Arithmetic
from ...elementwise_truth import Elements, Slope, assemble, tiny
from ...model import Case, Precision
from ...softmax import K0, K1, KL0, KL1
from ...truth import Truth


@dataclass(frozen=True)
class Parts:
    """The quantities of the module's text, each of the input's shape ``S``.

    ``below`` is sp(-x), ``above`` sp(x), ``tail`` log1p(e^-|x|); ``mixed`` is m and
    ``mixed_size`` its size; ``weighted`` says whether there is a pos_weight.
    """

    x: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    positive: torch.Tensor
    below: torch.Tensor
    above: torch.Tensor
    tail: torch.Tensor
    mixed: torch.Tensor
    mixed_size: torch.Tensor
    weighted: bool


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``arguments`` are the tensors of the call, already rounded to their dtypes;
    ``output_dtype`` is the dtype of the loss, gradients have their tensor's.
    """
    how = bounds.arithmetic(arguments["input"].dtype, precision)
    parts = read(arguments)
    slopes = {
        "input": partial(_input_slope, parts, how),
        "target": partial(_target_slope, parts, how),
    }
    output = bounds.FORMATS[output_dtype]
    return assemble(case, arguments, _elements(parts, how), slopes, how, output, divergences)


def _wide(arguments: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """A tensor in float64 and the input's shape; ones where the call has none."""
    tensor = arguments.get(name)
    if tensor is None:
        return torch.ones((), dtype=torch.float64).expand(arguments["input"].shape)
    return tensor.detach().cpu().double().expand(arguments["input"].shape)


def read(arguments: Mapping[str, torch.Tensor]) -> Parts:
    """The quantities of the formula, in float64."""
    x, y, weight, positive = (
        _wide(arguments, name) for name in ("input", "target", "weight", "pos_weight")
    )
    tail = (-x.abs()).exp().log1p()
    return Parts(
        x, y, weight, positive,
        (-x).clamp(min=0.0) + tail,
        x.clamp(min=0.0) + tail,
        tail,
        (1 - y) + positive * y,
        1 + (positive - 1).abs() * y.abs(),
        "pos_weight" in arguments,
    )  # fmt: skip


def _elements(parts: Parts, how: Arithmetic) -> Elements:
    x, y, w = parts.x.abs(), parts.y.abs(), parts.weight.abs()
    size = (1 - parts.y).abs() * x + parts.mixed_size * parts.below
    log = KL0 + 2 + K0 * (1 + x) * (-x).exp() + KL1 * parts.tail
    cancelled = 2 * x * (1 + y + (parts.positive * y).abs())
    error = how.compute.u * (6 * size + cancelled + parts.mixed_size * log)
    error = error + (8 * how.rows.u + 4 * OWN * U64) * size
    error = w * error + 4 * tiny(how) * (1 + w)
    value = parts.weight * ((1 - parts.y) * parts.x + parts.mixed * parts.below)
    return Elements(value, error, w * size, torch.maximum(size, w * size))


def _input_slope(parts: Parts, how: Arithmetic) -> Slope:
    x, y, w, u = parts.x, parts.y.abs(), parts.weight.abs(), how.compute.u
    up, down = x.sigmoid(), (-x).sigmoid()
    gain = (parts.positive * y).abs()
    value = parts.weight * ((1 - parts.y) * up - parts.positive * parts.y * down)
    size = (1 + y + gain) * up + gain if parts.weighted else up + y
    wide = (1 - parts.y).abs() + parts.mixed_size + 1 + y + 2 * gain
    error = u * ((K0 + K1 * x.abs()) * parts.mixed_size * up * down + 6 * wide)
    error = error + (6 * how.rows.u + 4 * OWN * U64) * size
    peak = torch.maximum(size, w * size)
    return Slope(value, w * error, w * size, w + size + 1, peak, x.shape)


def _target_slope(parts: Parts, how: Arithmetic) -> Slope:
    w, p = parts.weight.abs(), parts.positive.abs()
    size = parts.above + p * parts.below
    value = parts.weight * (parts.positive * parts.below - parts.above)
    if not parts.weighted:  # the difference is -x, which is known exactly
        value = -parts.weight * parts.x
    error = how.compute.u * (6 * size + 2 * (1 + p) * (KL0 + 2 + K0))
    error = error + (5 * how.rows.u + 4 * OWN * U64) * size
    peak = torch.maximum(size, w * size)
    return Slope(value, w * error, w * size, w + size + 1, peak, parts.x.shape)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression, for second derivatives; float64."""
    x, y = tensors["input"], tensors["target"]
    softplus = torch.nn.functional.softplus(-x, threshold=100.0)
    mixed = 1 + (tensors["pos_weight"] - 1) * y if "pos_weight" in tensors else 1.0
    loss = (1 - y) * x + mixed * softplus
    if "weight" in tensors:
        loss = loss * tensors["weight"]
    if case.reduction == "none":
        return loss
    return loss.sum() if case.reduction == "sum" else loss.mean()
