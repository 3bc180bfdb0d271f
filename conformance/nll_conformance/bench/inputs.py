"""Inputs of a benchmark: the family's plain call at a size, twice with unlike contents."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from .. import recipes
from ..cases import Context, Draft, Lowest
from ..declare import Subject
from ..discover import family, family_part
from ..errors import UsageError
from ..model import Case
from ..recipes import TensorRecipe

#: Two inputs suffice: no answer to one is within the bound of the other.
COUNT = 2
#: Tensors up to this size are made by their recipe alone.
RECIPE_ELEMENTS = 2**20


@dataclass(frozen=True)
class Input:
    """One input: how it was made, and its tensors."""

    case: Case
    tensors: dict[str, torch.Tensor]


def parse_shape(text: str, family_name: str) -> tuple[int, ...]:
    """``"2048x32000"`` as numbers, as many as the family has axes; UsageError otherwise."""
    if family(family_name).copies is not None:
        raise UsageError(
            f"bench times losses of one process; those of {family_name} run on several "
            "(`check` judges them)."
        )
    axes = family(family_name).axes
    words = text.lower().split("x")
    if len(words) != len(axes.split("x")) or not all(w.isdigit() and int(w) for w in words):
        raise UsageError(
            f"shape {text!r} is not {axes} of positive whole numbers, as "
            f"{family(family_name).shapes[0]}, which is what {family_name} takes."
        )
    return tuple(map(int, words))


def logits_shape(shape: tuple[int, ...], family_name: str) -> tuple[int, ...]:
    """The shape of the logits, which a fused linear loss never holds at once."""
    axes = family(family_name).axes.split("x")
    return tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "H")


def case_at(
    shape: tuple[int, ...], family_name: str, dtype: str, device: str, number: int = 0
) -> Case:
    """The plain call of that size under a mean; ``number`` tells unlike inputs apart."""
    context = Context(
        family=family(family_name),
        rule="bench",
        dtype=dtype,
        device=device,
        capabilities=frozenset(family(family_name).capabilities),
        max_elements=2**62,
    )
    part = family_part(family_name, "cases")
    draft: Draft = part.plain(context, Lowest())
    enlarge = getattr(part, "enlarge", None)
    if enlarge is not None:
        enlarge(draft, shape)
    elif draft.classes:
        draft.resize(shape[:-1], shape[-1])
    else:
        draft.resize(shape)
    for name, recipe in draft.tensors.items():
        draft.change(name, seed=recipe.seed + 100 * number)
    # Other magnitudes, too, so that the mean over many rows differs visibly.
    draft.change("input", scale=draft.tensors["input"].scale - number)
    return draft.case()


def build(case: Case) -> Input:
    """The case's tensors, each as :func:`_tensor` makes it."""
    return Input(case, {name: _tensor(r, case.device) for name, r in case.recipe})


def _tensor(recipe: TensorRecipe, device: str) -> torch.Tensor:
    """The recipe's tensor; a large one repeats its first rows, rolled a little each time.

    Recipes are exact on every machine but take 0.2 us an entry.
    """
    rows, *rest = recipe.shape
    first = max(1, min(rows, RECIPE_ELEMENTS // max(1, math.prod(rest))))
    # the plain calls' edits speak of columns, never of rows
    made = recipes.build(replace(recipe, shape=(first, *rest), grad=False), device)
    if first < rows:
        whole = made.new_empty(recipe.shape)
        for number in range(math.ceil(rows / first)):
            part = whole[number * first : (number + 1) * first]
            part.copy_(made[: len(part)].roll(number * 7, -1) if rest else made[: len(part)])
        made = whole
    return made.requires_grad_(recipe.grad)


def unsupported(subject: Subject, case: Case) -> str:
    """Why this subject cannot be timed with that case; empty if it can."""
    declared = subject.implementation
    if case.dtype not in declared.dtypes:
        return f"declares only {', '.join(declared.dtypes)}"
    if case.device not in declared.devices:
        return f"declares only the devices {', '.join(declared.devices)}"
    elements = math.prod(case.tensor("input").shape)  # type: ignore[union-attr]
    if declared.max_elements is not None and elements > declared.max_elements:
        return f"declares inputs of at most {declared.max_elements} elements"
    if subject.fixed:
        return f"fixes {', '.join(subject.fixed)} itself; the benchmark times the plain call"
    if "gradient" in subject.absent and case.upstream is not None:
        return f"has no gradient: {subject.absent['gradient']}"
    return ""


def without_gradient(case: Case) -> Case:
    """The same call, forward only."""
    recipe = tuple((name, replace(r, grad=False)) for name, r in case.recipe)
    return replace(case, recipe=recipe, upstream=None)
