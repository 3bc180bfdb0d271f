"""Exact value, gradients and admissible errors of ``linear_cross_entropy``.

The loss is the cross entropy of the logits ``z = W h + b``; the gradient g in the logits
becomes ``g W`` in the hidden states, ``g^T h`` in the head and the sum of g over the rows in
the bias.  Errors of the logits enter through :func:`~.projection.class_shift`, everything
behind them as in cross entropy; :class:`~.projection.Pulled` adds what the products with g
may lose.  First order in u, except for the logits' errors, which in 16 bits are not small.

Source: https://docs.pytorch.org/docs/2.13/generated/torch.nn.functional.linear_cross_entropy.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from ... import bounds
from ...bounds import EXACT, INF, Arithmetic, Denominator, Terms
from ...model import Case, Precision
from ...recipes import build
from ...softmax import condition, probability_error, statistics
from ...softmax_loss import Softened, logit_gradient, row_terms, settle, share_gradient, soften
from ...truth import Exact, Truth
from ..cross_entropy import oracle as cross_entropy
from ..cross_entropy.oracle import Call
from .projection import Projection, Pulled, class_shift, project

kept_rows = cross_entropy.kept_rows


def truth(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    *,
    precision: Precision,
    output_dtype: torch.dtype,
    divergences: Mapping[str, str],
) -> Truth:
    """What ``case`` must give for ``arguments``, and how far off a correct loss may be.

    ``arguments`` are the tensors of the call, already rounded to their dtypes.  Precisions:
    ``fp32_inside`` keeps logits and all sums in float32; ``rounded_rows`` may round the
    logits and the gradient in them; ``input_dtype`` may also keep sums over rows or classes.
    """
    how = bounds.arithmetic(arguments["input"].dtype, precision)
    hidden, head, bias = matrices(case, arguments)
    logits = project(hidden, head, bias, how)
    call = read(case, arguments, logits)
    soft = softened(call, logits, how)
    terms = settle(_conditioned(row_terms(soft), soft, logits), call.counted, soft.rows.defined)
    below = cross_entropy.denominator(call) if case.reduction == "mean" else None
    output = bounds.FORMATS[output_dtype]
    if case.reduction == "none":
        value = _shaped(bounds.each(terms, output), call.batch)
    else:
        value = cross_entropy.reduced(terms, below, how, output, divergences)
    if case.upstream is None:
        return Truth(value)
    return Truth(value, gradients(case, arguments, call, soft, below))


def matrices(
    case: Case, arguments: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Hidden states ``(R, H)``, zero in rows that do not count, head and bias; float64."""
    hidden, head, bias = (
        tensor if tensor is None else tensor.detach().cpu().double()
        for tensor in map(arguments.get, ("input", "linear_weight", "linear_bias"))
    )
    assert hidden is not None and head is not None
    counted = kept_rows(case, arguments).reshape(-1, 1)
    return hidden.reshape(-1, hidden.shape[-1]).where(counted, 0.0), head, bias


def read(case: Case, arguments: Mapping[str, torch.Tensor], logits: Projection) -> Call:
    """The call as rows of exact logits."""
    shape = (*arguments["input"].shape[:-1], logits.value.shape[1])
    return cross_entropy.read(case, {**arguments, "input": logits.value.reshape(shape)})


def softened(call: Call, logits: Projection, how: Arithmetic) -> Softened:
    """The softmax of the logits, the error of each class's loss with that of the logits."""
    rows = statistics(call.logits, call.counted)
    soft = soften(rows, cross_entropy.blend(call), how)
    error = soft.error + class_shift(rows, logits.error, how)
    return replace(soft, error=error, unjudged=soft.unjudged | (logits.lost & rows.defined))


def _conditioned(terms: Terms, soft: Softened, logits: Projection) -> Terms:
    """The rows' condition with that of the logits: sum_j |a_j| (S_j + sum_i p_i S_i)."""
    size = logits.size.where(logits.value.isfinite(), 0.0)
    mean = (soft.rows.p * size).sum(1, keepdim=True)
    return replace(terms, condition=terms.condition + (soft.amount * (size + mean)).sum(1))


def gradients(
    case: Case,
    arguments: Mapping[str, torch.Tensor],
    call: Call,
    soft: Softened,
    below: Denominator | None,
) -> dict[str, Exact]:
    """The gradient of each tensor that requires one, in its shape."""
    assert case.upstream is not None
    asked = {name for name, recipe in case.recipe if recipe.grad}
    scale, upstream = cross_entropy.scales(build(case.upstream), call, below)
    hidden, head, _ = matrices(case, arguments)
    pulled = _pulled(call, soft, below, scale, upstream)
    found = {
        "input": lambda form: pulled.times(head, form),
        "linear_weight": lambda form: pulled.turned.times(hidden, form),
        "linear_bias": lambda form: pulled.turned.times(torch.ones_like(hidden[:, :1]), form),
        "target": lambda form: share_gradient(
            soft, scale, call.counted, call.smoothing, upstream, form
        ),
    }
    grads = {
        name: _shaped(found[name](bounds.FORMATS[arguments[name].dtype]), arguments[name].shape)
        for name in found
        if name in asked
    }
    if _idle_beyond(case, arguments, soft.how, scale * call.counted):
        return {name: replace(g, bound=torch.full_like(g.bound, INF)) for name, g in grads.items()}
    return grads


def _idle_beyond(
    case: Case, arguments: Mapping[str, torch.Tensor], how: Arithmetic, scale: torch.Tensor
) -> bool:
    """Whether finite logits of a row whose gradient is 0 may overflow: none is judged then.

    Zero times such a row's softmax is NaN, in the head's gradient, too.
    """
    _, head, bias = matrices(case, arguments)
    hidden = arguments["input"].detach().cpu().double().reshape(-1, head.shape[-1])
    idle = (scale == 0.0).expand(len(hidden)) & hidden.isfinite().all(1)
    return bool(idle.any()) and bool(project(hidden[idle], head, bias, how).lost.any())


def _pulled(
    call: Call,
    soft: Softened,
    below: Denominator | None,
    scale: torch.Tensor,
    upstream: torch.Tensor,
) -> Pulled:
    exact = logit_gradient(soft, scale, call.counted, below, upstream, EXACT)
    strength = soft.amount.sum(1, keepdim=True)
    s = (scale * call.counted).abs().unsqueeze(1)
    pull = s * (strength * soft.rows.p + soft.amount)
    kappa, live = pull * condition(soft.rows), (s != 0).double().expand(pull.shape)
    most = float(upstream.abs().max()) if upstream.numel() else 0.0
    return Pulled(exact.value, exact.bound, pull, kappa, live, most, soft.how)


def _shaped(exact: Exact, shape: torch.Size) -> Exact:
    kappa = None if exact.condition is None else exact.condition.reshape(shape)
    return Exact(exact.value.reshape(shape), exact.bound.reshape(shape), kappa)


def formula(case: Case, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The loss as a differentiable expression; ``tensors`` float64, targets as they are."""
    logits = torch.nn.functional.linear(
        tensors["input"], tensors["linear_weight"], tensors.get("linear_bias")
    )
    return cross_entropy.formula(case, {**tensors, "input": logits})


def curvature(case: Case, arguments: Mapping[str, torch.Tensor], v: torch.Tensor) -> Exact:
    """The second derivative in the hidden states along ``v`` ``(N, H)``, unweighted calls.

    ``W^T y``, y = s (p x - p (p . x)), x = W v.  With the relative error eps_j of p_j the
    error is, to first order, |W|^T of |s| (p eps |x| + p eps (p . |x|) + p (p eps . |x|)),
    and 2 (C + H) + 16 roundoffs of |W|^T |s| (p |x| + p (p . |x|)).
    """
    how = bounds.arithmetic(arguments["input"].dtype, "fp32_inside")
    hidden, head, bias = matrices(case, arguments)
    logits = project(hidden, head, bias, how)
    call = read(case, arguments, logits)
    soft = softened(call, logits, how)
    below = cross_entropy.denominator(call) if case.reduction == "mean" else None
    assert case.upstream is not None
    s = cross_entropy.scales(build(case.upstream), call, below)[0].unsqueeze(1)
    p, x = soft.rows.p, v @ head.T
    off = p * probability_error(soft.rows, how, soft.error)
    size = s.abs() * (p * x.abs() + p * _dot(p, x.abs()))
    error = s.abs() * (off * (x.abs() + _dot(p, x.abs())) + p * _dot(off, x.abs()))
    unit = how.compute.u * (2 * sum(head.shape) + 16)
    value = s * (p * x - p * _dot(p, x)) @ head
    return Exact(value, (error + unit * size) @ head.abs() + how.compute.tiny)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(1, keepdim=True)
