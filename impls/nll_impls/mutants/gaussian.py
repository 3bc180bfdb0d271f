"""Gaussian NLL: another formula, another constant, another shape, another denominator."""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses.elements import widened
from ._base import altered
from ._elements import HALF_LOG_2PI, Gaussian, element_losses, gaussian_mutant, reduced

FORMULA = "implementations of the formula by hand"


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.element_loss",))
def variance_as_deviation(call: Gaussian) -> Tensor:
    """The quotient divides by the square of the variance, as if that were a deviation."""
    variance = call.variance()
    quotient = (call.residual() / variance).square()
    return reduced(call, element_losses(call, variance.log(), quotient))


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.element_loss", "values.plain_mean"))
def logarithm_not_halved(call: Gaussian) -> Tensor:
    """The logarithm of the variance is not halved."""
    return reduced(call, element_losses(call, 2 * call.variance().log(), call.quotient()))


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.close_prediction",))
def square_multiplied_out(call: Gaussian) -> Tensor:
    """The squared residual is x^2 - 2 x y + y^2, whose digits cancel far from zero."""
    x, y = call.x, call.y
    square = x.square() - 2 * x * y + y.square()
    return reduced(call, element_losses(call, call.variance().log(), square / call.variance()))


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.large_quotient",))
def quotient_clamped(call: Gaussian) -> Tensor:
    """The quotient is limited to 100, for a steadier training."""
    quotient = call.quotient().clamp(max=100.0)
    return reduced(call, element_losses(call, call.variance().log(), quotient))


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.gradients",))
def variance_detached_in_quotient(call: Gaussian) -> Tensor:
    """The variance gets no gradient through the quotient."""
    variance = call.variance()
    quotient = call.residual().square() / variance.detach()
    return reduced(call, element_losses(call, variance.log(), quotient))


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.full_constant",))
def constant_not_halved(call: Gaussian) -> Tensor:
    """full=True adds log(2 pi), not half of it."""
    return reduced(call, call.losses() + call.constant())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.full_constant",))
def constant_added_once(call: Gaussian) -> Tensor:
    """full=True adds its constant to the reduced loss: once, also to a sum."""
    loss = reduced(call, call.but(full=False).losses())
    return loss + HALF_LOG_2PI if call.full else loss


@gaussian_mutant(
    source="pytorch/pytorch#147521 (fixed by #147522)",
    caught_by=("gaussian_nll.one_unit_dimension",),
)
def only_the_last_dimension_one(call: Gaussian) -> Tensor:
    """Of the variance's dimensions only the last may be 1 where the input's is not."""
    var, input = call.var, call.input
    if isinstance(var, Tensor) and var.shape != input.shape and var.dim() == input.dim():
        expected = (*input.shape[:-1], 1)
        if var.shape != expected:
            raise ValueError(f"var has shape {tuple(var.shape)}, not {expected}")
    return reduced(call, call.losses())


@gaussian_mutant(
    source="pytorch/pytorch#176244, #179377",
    caught_by=("gaussian_nll.unit_dimensions",),
)
def two_unit_dimensions_refused(call: Gaussian) -> Tensor:
    """The sizes of the dimensions in which variance and input differ must sum to 1."""
    var, input = call.var, call.input
    if isinstance(var, Tensor) and var.dim() == input.dim() and var.shape != input.shape:
        pairs = zip(var.shape, input.shape, strict=True)
        if sum(own for own, size in pairs if own != size) != 1:
            raise ValueError("var is of incorrect size")
    return reduced(call, call.losses())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.without_last_dimension",))
def row_variance_as_column(call: Gaussian) -> Tensor:
    """A variance for each row broadcasts along the columns where the two are as many."""
    var = call.var
    if isinstance(var, Tensor) and var.dim() == 1 and call.input.shape == (len(var), len(var)):
        return reduced(call, call.but(var=var.expand(call.input.shape)).losses())
    return reduced(call, call.losses())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.last_dimension_one",))
def shared_variance_gradient_averaged(call: Gaussian) -> Tensor:
    """A variance that holds for a dimension gets the mean of its gradients, not their sum."""
    if not isinstance(call.var, Tensor) or call.var.shape[-1:] != (1,):
        return reduced(call, call.losses())
    var, count = call.var, max(call.input.shape[-1], 1)
    scaled = var.detach() + (var - var.detach()) / count
    return reduced(call, call.but(var=scaled).losses())


@gaussian_mutant(
    source="torch.nn.GaussianNLLLoss: 'or a scalar value'",
    caught_by=("gaussian_nll.scalar_variance",),
)
def number_refused(call: Gaussian) -> Tensor:
    """The shape of the variance is asked for, which a number has not."""
    if not isinstance(call.var, Tensor):
        raise TypeError("var has no shape")
    return reduced(call, call.losses())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.broadcast_target",))
def mean_over_targets(call: Gaussian) -> Tensor:
    """The mean divides by the number of targets, of which one may stand for many inputs."""
    losses = call.losses()
    if call.reduction != "mean" or losses.shape == call.target.shape:
        return reduced(call, losses)
    return (losses.sum() / call.target.numel()).to(call.input.dtype)


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.negative_variance",))
def negative_variance_taken(call: Gaussian) -> Tensor:
    """The sign of a variance is dropped and nothing said."""
    var = call.var.abs() if isinstance(call.var, Tensor) else abs(call.var)
    return reduced(call, call.but(var=var).losses())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.variance_shape",))
def any_variance_broadcast(call: Gaussian) -> Tensor:
    """Whatever broadcasts is taken for a variance, one for each column, too."""
    var, input = call.var, call.input
    if isinstance(var, Tensor) and var.dim() != input.dim() and var.shape != input.shape[:-1]:
        var = var.broadcast_to(input.shape)
    return reduced(call, call.but(var=var).losses())


@gaussian_mutant(source=FORMULA, caught_by=("dtypes.output",))
def mean_in_float32(call: Gaussian) -> Tensor:
    """The mean of 16-bit inputs stays in float32, other reductions do not."""
    losses = call.losses()
    if call.reduction == "mean":
        return widened(losses).mean()
    return reduced(call, losses)


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.large_quotient", "elementwise.mean"))
def residual_in_16_bits(call: Gaussian) -> Tensor:
    """With 16-bit inputs the residual is squared in their dtype."""
    square = (call.input - call.target.to(call.input.dtype)).square()
    if call.input.dtype not in (torch.bfloat16, torch.float16):
        return reduced(call, call.losses())
    quotient = widened(square) / call.variance()
    return reduced(call, element_losses(call, call.variance().log(), quotient))


@gaussian_mutant(source=FORMULA, caught_by=("elementwise.no_dimension",))
def single_number_without_constant(call: Gaussian) -> Tensor:
    """A single number without dimensions goes without the constant."""
    return reduced(call, call.but(full=call.full and call.input.dim() > 0).losses())


@gaussian_mutant(source="Python: `eps or 1e-6`", caught_by=("gaussian_nll.floor_is_no_addend",))
def no_floor_taken_for_the_default(call: Gaussian) -> Tensor:
    """An eps of 0 is taken for none given: the floor stays at 1e-6."""
    return reduced(call, call.but(eps=call.eps or 1e-6).losses())


@gaussian_mutant(source=FORMULA, caught_by=("gaussian_nll.square_beyond_half",))
def square_overflows_in_half(call: Gaussian) -> Tensor:
    """The square of a residual is infinite where float16 cannot hold it."""
    if call.input.dtype != torch.float16:
        return reduced(call, call.losses())
    beyond = call.residual().square() > torch.finfo(torch.float16).max
    return reduced(call, torch.where(beyond, torch.inf, call.losses()))


@gaussian_mutant(
    source="a gradient by hand that divides by var * var (held-out loss of a blind author)",
    caught_by=("gaussian_nll.square_below_half",),
    dtypes=("float16",),
)
def square_of_variance_vanishes(call: Gaussian) -> Tensor:
    """Of float16 the variance's gradient divides by its square in that dtype, which is 0."""
    variance = call.variance()
    if call.input.dtype != torch.float16:
        return reduced(call, call.losses())
    true = variance.detach().square()
    square = variance.detach().half().square().float()
    below = altered(variance, lambda grad: grad * true / square)
    return reduced(call, element_losses(call, variance.log(), call.residual().square() / below))
