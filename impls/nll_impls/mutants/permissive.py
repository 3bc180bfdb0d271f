"""Bad input gives a number; deprecated arguments are accepted without effect."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from . import _mutant
from ._base import Call, cross_entropy, mutant
from .corners import DeprecatedCall

FORMULA = "implementations of the formula by hand"
deprecated_mutant = functools.partial(_mutant.mutant, family="cross_entropy", call=DeprecatedCall)


@mutant(
    source="pytorch/pytorch#108148 (MPS before #109574)",
    caught_by=("errors.target_out_of_range",),
)
def target_clamped(call: Call) -> Tensor:
    """Targets outside [0, C) are clamped to it."""
    rows = call.rows()
    classes = rows.logits.shape[-1]
    if rows.soft or not classes:
        return cross_entropy(call)
    inside = call.target.long().clamp(0, classes - 1)
    return cross_entropy(call.but(target=torch.where(rows.kept, inside, call.target.long())))


@mutant(source="pytorch/pytorch#5296", caught_by=("errors.target_out_of_range",))
def target_unchecked_without_reduction(call: Call) -> Tensor:
    """Unreduced, a target outside [0, C) is scored as the class that it falls on, going round."""
    if call.reduction != "none" or call.soft or not call.input.numel():
        return cross_entropy(call)
    classes = call.input.shape[1 if call.input.dim() > 1 else 0]
    target = call.target.long()
    inside = torch.where(target == call.ignore_index, target, target % classes)
    return cross_entropy(call.but(target=inside))


@mutant(source=FORMULA, caught_by=("errors.float_indices",))
def float_indices_truncated(call: Call) -> Tensor:
    """Floating-point class indices lose what they have behind the point."""
    indices = call.soft and call.target.dim() == call.input.dim() - 1
    return cross_entropy(call.but(target=call.target.detach().long()) if indices else call)


@mutant(source=FORMULA, caught_by=("errors.weight_size",))
def weight_of_any_size(call: Call) -> Tensor:
    """A weight of another size than C is cut, or filled up with ones."""
    weight, classes = call.weight, call.input.shape[1 if call.input.dim() > 1 else 0]
    if weight is not None and len(weight) != classes:
        weight = torch.cat([weight, weight.new_ones(classes)])[:classes]
    return cross_entropy(call.but(weight=weight))


@mutant(
    source="torch.nn.functional.cross_entropy looks at the upper end only",
    caught_by=("errors.smoothing_range",),
)
def smoothing_clamped(call: Call) -> Tensor:
    """A label smoothing outside [0, 1] is clamped to it."""
    return cross_entropy(call.but(label_smoothing=min(max(call.label_smoothing, 0.0), 1.0)))


@deprecated_mutant(source=FORMULA, caught_by=("reductions.size_average",))
def size_average_without_effect(call: DeprecatedCall) -> Tensor:
    """size_average is accepted and not looked at."""
    return cross_entropy(call.current(None, call.reduce))


@deprecated_mutant(source=FORMULA, caught_by=("reductions.reduce",))
def reduce_without_effect(call: DeprecatedCall) -> Tensor:
    """Reduce is accepted and not looked at."""
    return cross_entropy(call.current(call.size_average, None))


@mutant(source="sibling of pytorch/pytorch#722", caught_by=("errors.target_shape",))
def column_of_labels(call: Call) -> Tensor:
    """Labels in a column (N, 1) are taken for those of the rows."""
    if call.input.dim() == 2 and call.target.shape == (len(call.input), 1) and not call.soft:
        return cross_entropy(call.but(target=call.target[:, 0]))
    return cross_entropy(call)


@mutant(source="NumPy's broadcasting", caught_by=("errors.weight_size",))
def one_weight_for_all(call: Call) -> Tensor:
    """A single class weight holds for all classes."""
    if call.weight is not None and call.weight.numel() == 1:
        classes = call.input.shape[0 if call.input.dim() == 1 else 1]
        return cross_entropy(call.but(weight=call.weight.expand(classes)))
    return cross_entropy(call)


@mutant(source="pytorch/pytorch#157420", caught_by=("errors.target_shape",))
def first_of_several_targets(call: Call) -> Tensor:
    """Of several targets for a single sample the first one is taken."""
    several = call.input.dim() == call.target.dim() == 1 and not call.soft
    if several and call.target.numel():
        return cross_entropy(call.but(target=call.target[0]))
    return cross_entropy(call)


@mutant(
    source="torch.nn.functional.cross_entropy refuses it",
    caught_by=("errors.ignored_probabilities",),
)
def ignored_class_of_probabilities(call: Call) -> Tensor:
    """A class to ignore beside class probabilities is accepted without effect."""
    return cross_entropy(call.but(ignore_index=-100) if call.soft else call)


@mutant(source=FORMULA, caught_by=("errors.soft_target_shape",))
def probabilities_broadcast(call: Call) -> Tensor:
    """Class probabilities of one row are used for every row."""
    target = call.target
    if call.soft and target.dim() == call.input.dim() > 1 and target.shape[0] == 1:
        target = target.expand(call.input.shape[0], *target.shape[1:])
    return cross_entropy(call.but(target=target))


@mutant(
    source="labels cast to int32 before they are checked", caught_by=("errors.target_out_of_range",)
)
def targets_of_32_bits(call: Call) -> Tensor:
    """A target of 2**32 or more is taken modulo 2**32."""
    if call.soft:
        return cross_entropy(call)
    kept = call.target == call.ignore_index
    return cross_entropy(call.but(target=torch.where(kept, call.target, call.target % 2**32)))


@mutant(source=FORMULA, caught_by=("errors.target_shape",))
def one_row_of_logits_for_all_targets(call: Call) -> Tensor:
    """Logits of one row serve all targets."""
    input, target = call.input, call.target
    if input.dim() == 2 and len(input) == 1 and target.dim() == 1 and not call.soft:
        input = input.expand(len(target), -1)
    return cross_entropy(call.but(input=input))


@mutant(source=FORMULA, caught_by=("errors.weight_size",))
def column_of_weights(call: Call) -> Tensor:
    """Weights in a column or a row of a matrix are taken."""
    weight = call.weight
    return cross_entropy(call if weight is None else call.but(weight=weight.flatten()))
