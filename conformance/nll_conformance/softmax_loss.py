"""Row losses and gradients of every loss that is linear in the log-probabilities.

``loss_n = sum_j a_nj l_nj`` with coefficients ``a_nj = w_j q_nj``: ``q`` is one-hot, smoothed
(``(1 - eps) onehot + eps / C``) or given.  Its gradient in logit j is ``s_n (W_n p_nj -
a_nj)``, W the sum of the row's coefficients and ``s`` the upstream gradient over the
denominator.  ``R`` rows, ``C`` classes, everything float64.

The admissible errors are those of *some* correct algorithm of the declared precision, so
that none is flagged; they are derived term by term, never measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .bounds import (
    EXACT,
    INF,
    OWN,
    U64,
    Arithmetic,
    Denominator,
    Format,
    Terms,
    nonzero,
    own_height,
    rounded,
)
from .softmax import Rows, class_error, condition, in_core, probability_error
from .truth import Exact


@dataclass(frozen=True)
class Blend:
    """The coefficients of the row losses.

    ``share`` is q after smoothing and ``weight`` the class weights ``(C,)`` or ``None``;
    ``coefficient`` is their product ``(R, C)``, zero in rows that do not count.
    ``spread`` is the part of it that is summed over the classes, broadcastable to
    ``(R, C)``, or ``None`` where the loss of one class is all there is.  ``stored`` says
    that the implementation holds the shares as a tensor, whose entries may underflow.
    """

    share: torch.Tensor
    weight: torch.Tensor | None
    coefficient: torch.Tensor
    spread: torch.Tensor | None
    stored: bool


@dataclass(frozen=True)
class Softened:
    """One call's rows and coefficients with what both bounds need of them.

    ``error`` is E_j and ``amount`` is ``|a_j|``, both ``(R, C)``; ``unjudged`` and ``blown``
    mark rows ``(R,)`` with no derivable bound, and with an infinite loss.
    """

    rows: Rows
    blend: Blend
    how: Arithmetic
    error: torch.Tensor
    amount: torch.Tensor
    unjudged: torch.Tensor
    blown: torch.Tensor | None


def soften(rows: Rows, blend: Blend, how: Arithmetic) -> Softened:
    """Join the statistics of the logits with the coefficients."""
    unjudged = ~in_core(rows, how)
    blown = None
    if rows.hole is not None:
        blown = (rows.hole & (blend.coefficient != 0)).any(1)
        # 0 * inf of a weight: IEEE says NaN, "a class of no weight" says 0
        open_question = rows.hole & (blend.share != 0) & (blend.coefficient == 0)
        unjudged = unjudged | (open_question.any(1) & rows.defined)
    amount = blend.coefficient.abs()
    return Softened(rows, blend, how, class_error(rows, how), amount, unjudged, blown)


def row_terms(soft: Softened) -> Terms:
    """The exact row losses ``(R,)`` and the error of each before any reduction.

    E_n = sum_j |a_j| E_j + 2 u size; where classes are summed, + 6 u (size + (|m| + L) W)
    + u (C+3) sum_j |spread_j| (|m| + L + |x_j|); 16-bit rows + 3 u_rows size (6 u_rows where
    classes are summed: log-probability, share, two products, sum, scale) + underflows.
    """
    rows, how, amount = soft.rows, soft.how, soft.amount
    value = (soft.blend.coefficient * rows.loss).sum(1)
    size = (amount * rows.loss).sum(1)
    error = (amount * soft.error).sum(1) + (2 * how.compute.u + 4 * OWN * U64) * size
    error = error + how.compute.tiny
    peak = size
    if soft.blend.spread is not None:
        error = error + _class_sum_error(soft, soft.blend.spread, size)
        peak = torch.maximum(size, _unscaled(soft))
    if how.rows.u:
        error = error + _row_rounding(soft, size)
        highest = (rows.loss * (amount != 0)).amax(1)
        # a log-probability or row loss that does not fit the 16-bit dtype
        error = error.masked_fill(torch.maximum(highest, peak) + error > how.rows.largest, INF)
    error = error.masked_fill(peak + error > how.compute.largest, INF)
    error = error.nan_to_num(nan=INF, posinf=INF).masked_fill(soft.unjudged, INF)
    if soft.blown is not None and rows.hole is not None:
        infinite = soft.blend.coefficient.sign() * INF
        infinite = infinite.where(rows.hole & (amount != 0), 0.0).sum(1)
        value, size, peak = value + infinite, _zero(size, soft.blown), _zero(peak, soft.blown)
        error = error.masked_fill(soft.blown & ~soft.unjudged, 0.0)
    return Terms(value, error, size, peak, (amount * condition(rows)).sum(1))


def settle(terms: Terms, counted: torch.Tensor, defined: torch.Tensor) -> Terms:
    """Rows that do not count contribute exactly 0, counted ones without softmax NaN."""
    if bool(defined.all()):
        return terms
    value = terms.value.masked_fill(~counted, 0.0).masked_fill(counted & ~defined, torch.nan)
    rest = (terms.error, terms.size, terms.peak, terms.condition)
    return Terms(value, *(_zero(t, ~defined) for t in rest))


def logit_gradient(
    soft: Softened,
    scale: torch.Tensor,
    counted: torch.Tensor,
    below: Denominator | None,
    upstream: torch.Tensor,
    output: Format,
) -> Exact:
    """The gradient ``(R, C)`` in the logits, ``output`` their format.

    ``scale`` and ``upstream`` are s and its numerator, ``(R,)`` or ``()``; ``below`` is
    ``None`` unless the reduction is ``mean``.  With ``pull_j = |W| p_j + |a_j|``::

        E_g = |s| [ |W| p_j expm1(relP_j) + (8 u + rho) pull_j + u (C-1) |W| p_j
                    + 4 u (1 + t) pull_j + |a_j| (sum_k p_k expm1(relP_k) + u (C-1))
                    + 2 (u h + u_rows) sum |a| ]

    the third term where W is summed over classes, rho the relative error of the denominator,
    t the expected gap of the target: a loss may be the log-sum-exp of the differences to the
    target's logit, which are rounded, and its gradient there minus the sum of the others'
    probabilities (relP without roundings to 16 bits).  The last term is the largest logits':
    who subtracts the maximum without detaching it adds the gradient's sum there, which is
    0 but for rounding (h: the height of that sum).  16-bit rows + |s| 5 u_rows pull_j +
    underflows; then the output's rounding.
    The condition is |s| pull_j (1 + L + D + gap_j).
    """
    rows, blend, how = soft.rows, soft.blend, soft.how
    strength = soft.amount.sum(1, keepdim=True)
    drawn = strength * rows.p
    pull = drawn + soft.amount
    s = (scale * counted).unsqueeze(-1)
    value = s * (blend.coefficient.sum(1, keepdim=True) * rows.p - blend.coefficient)
    fixed = 8 * how.compute.u + 5 * how.rows.u + 12 * OWN * U64
    fixed += below.relative_error(how) if below else 0.0
    error = drawn * probability_error(rows, how, soft.error) + fixed * pull
    # One rounding each: the difference, the sum of the others', the logarithm, what is left.
    reach = 1.0 + (blend.share.abs() * rows.gap).sum(1, keepdim=True)
    error = error + 4 * how.compute.u * reach * pull
    others = rows.p * probability_error(rows, how._replace(rows=EXACT), soft.error)
    summed = how.compute.u * (rows.classes - 1)
    error = error + soft.amount * (others.sum(1, keepdim=True) + summed)
    error = error + _through_the_maximum(rows, how, strength)
    if blend.spread is not None:
        error = error + (summed + OWN * U64 * own_height(rows.classes)) * drawn
    # p, or s, may underflow before the other factor makes it large again
    error = s.abs() * (error + how.compute.tiny * strength) + how.compute.tiny * pull
    if how.rows.u:
        error = error + _gradient_underflow(soft, pull, s.abs(), upstream.abs())
    error = error.nan_to_num(nan=INF, posinf=INF)
    beyond = s.abs() * strength > min(how.rows.largest, how.compute.largest)
    lost = beyond | soft.unjudged.unsqueeze(1) | _too_many(below, how)
    if soft.blown is not None:  # an infinite loss has no gradient to speak of
        lost = lost | soft.blown.unsqueeze(1)
    return finish(value, error, lost, s.abs() * pull * condition(rows), soft, counted, output)


def share_gradient(
    soft: Softened,
    scale: torch.Tensor,
    counted: torch.Tensor,
    smoothing: float,
    upstream: torch.Tensor,
    output: Format,
) -> Exact:
    """The gradient ``(R, C)`` in the class probabilities: ``s (1 - eps) w_j l_j``.

    E = |s (1 - eps) w_j| (E_j + 6 (u + u_rows) l_j) + underflows, then the output's
    rounding.  At logits of -inf it is infinite or, for a loss that skips shares of 0,
    zero: not judged.  The condition is |s (1 - eps) w_j| (1 + L + D + gap_j).
    """
    rows, how = soft.rows, soft.how
    s = (scale * counted).unsqueeze(-1) * (1.0 - smoothing)
    factor = s if soft.blend.weight is None else s * soft.blend.weight
    value = factor * rows.loss
    weight = 1.0 if soft.blend.weight is None else soft.blend.weight.abs()
    size = factor.abs()
    error = size * (soft.error + (6 * (how.compute.u + how.rows.u) + 32 * U64) * rows.loss)
    tiny = how.compute.tiny + how.rows.tiny
    error = error + tiny * (1.0 + weight) * (1.0 + rows.loss) * (2.0 + upstream.abs().max())
    error = error.nan_to_num(nan=INF, posinf=INF)
    lost = soft.unjudged.unsqueeze(1) | (rows.loss > how.rows.largest)
    if rows.hole is not None:
        lost = lost | rows.hole
    return finish(value, error, lost, size * condition(rows), soft, counted, output)


def finish(
    value: torch.Tensor,
    error: torch.Tensor,
    lost: torch.Tensor,
    kappa: torch.Tensor,
    soft: Softened,
    counted: torch.Tensor,
    output: Format,
) -> Exact:
    """Round to ``output``; infinite where ``lost``; rows that do not count exactly 0."""
    bound = rounded(value, error, output).masked_fill(lost, INF)
    # an upstream gradient that is itself NaN or infinite
    value = value.masked_fill(value.isnan() & (bound > 0), 0.0)
    if not bool(soft.rows.defined.all()):
        out, undefined = ~counted.unsqueeze(1), ~soft.rows.defined.unsqueeze(1)
        value = value.masked_fill(undefined, torch.nan).masked_fill(out, 0.0)
        bound, kappa = bound.masked_fill(undefined, 0.0), kappa.masked_fill(undefined, 0.0)
    return Exact(value, bound, nonzero(kappa))


def _class_sum_error(soft: Softened, spread: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """What summing over the classes adds, for algorithms that sum lse and logits apart."""
    rows, u, spread = soft.rows, soft.how.compute.u, spread.abs()
    level = (rows.top.abs() + rows.log_sum).squeeze(1)
    parts = level * spread.sum(-1) + (spread * rows.size).sum(1)
    own = OWN * U64 * own_height(rows.classes)
    strength = soft.amount.sum(1)
    return u * (rows.classes + 3) * parts + (6 * u + own) * size + 6 * u * level * strength


def _through_the_maximum(rows: Rows, how: Arithmetic, strength: torch.Tensor) -> torch.Tensor:
    """What is left of the gradient's sum over the classes, at the largest logits: ``(R, C)``."""
    # the sum's terms, the pull of the softmax and that of the target, are |W| and sum |a| in size
    left = 2 * (how.compute.u * own_height(rows.classes) + how.rows.u) * strength
    largest = rows.gap == 0.0
    if rows.hole is not None:
        largest = largest & ~rows.hole
    return left * largest


def _unscaled(soft: Softened) -> torch.Tensor:
    """sum_j |w_j| l_j ``(R,)`` where smoothing computes it before the factor eps / C."""
    if soft.blend.stored:  # shares multiply each class: nothing larger than the row
        return soft.rows.top.new_zeros(())
    weight = soft.blend.weight
    if weight is None:
        return soft.rows.loss.sum(1)
    return (soft.rows.loss * weight.abs()).sum(1)


def _row_rounding(soft: Softened, size: torch.Tensor) -> torch.Tensor:
    """What log-probabilities and row losses rounded to 16 bits add to the row's error."""
    rows, low = soft.rows, soft.how.rows
    if soft.blend.spread is None:
        return 3 * low.u * size + 2 * low.tiny
    weight = 1.0 if soft.blend.weight is None else soft.blend.weight.abs()
    products = ((soft.amount != 0) * (1.0 + rows.loss * weight)).sum(1)
    return 6 * low.u * size + low.tiny * (2.0 + products)


def _gradient_underflow(
    soft: Softened, pull: torch.Tensor, s: torch.Tensor, upstream: torch.Tensor
) -> torch.Tensor:
    """Absolute errors of 16-bit products and of s, ``(R, C)``."""
    rows, tiny = soft.rows, soft.how.rows.tiny
    error = 2 * tiny * (pull * (1.0 + upstream.unsqueeze(-1)) + 1.0)
    if soft.blend.spread is None:
        return error
    weight = soft.blend.weight
    if weight is None:
        spread = 1.0 + rows.classes * rows.p
    else:
        spread = weight.abs() + weight.abs().sum() * rows.p
    if soft.blend.stored:
        return error + tiny * (rows.classes * rows.p + s * spread)
    return error + tiny * spread  # s eps / C was rounded before it meets the weights


def _too_many(below: Denominator | None, how: Arithmetic) -> bool:
    """Whether the denominator may overflow, or is zero."""
    return below is not None and (below.overflows(how) or below.value == 0.0)


def _zero(tensor: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return tensor.masked_fill(where, 0.0)
