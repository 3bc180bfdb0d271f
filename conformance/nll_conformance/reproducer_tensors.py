"""The lines with which a reproducer makes its tensors, bit for bit as recipes build them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .recipes import Span, TensorRecipe

_SCATTER = [
    "",
    "def scatter(shape, seed):  # pseudo-random integers, the same on every machine",
    "    j = torch.arange(torch.Size(shape).numel()) + 131 * seed",
    "    return ((j * j % 65521 * (j % 65521) + 40503 * j + j // 65521) % 65521).view(shape)",
]
_SIMPLEX = [
    "",
    "def simplex(shape, seed, modulus, dim):  # multiples of 2**-8 that sum to 1",
    "    counts = scatter(shape, seed) % modulus",
    "    counts.narrow(dim, 0, 1).add_(256 - counts.sum(dim, keepdim=True))",
    "    return counts.double() * 2.0**-8",
]


def literal(value: Any) -> str:
    """A number, text, None or nested list of them as Python that needs no import."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)


def helpers(recipes: Iterable[TensorRecipe]) -> list[str]:
    """The functions that the lines of these recipes call."""
    regimes = {recipe.regime for recipe in recipes if not _is_small(recipe)}
    lines = list(_SCATTER) if regimes & {"levels", "scatter", "simplex"} else []
    return lines + (_SIMPLEX if "simplex" in regimes else [])


def _is_small(recipe: TensorRecipe) -> bool:
    from .recipes import LITERAL_ELEMENTS

    return recipe.elements <= LITERAL_ELEMENTS


def tensor_lines(name: str, recipe: TensorRecipe, device: str = "cpu") -> list[str]:
    """Lines after which ``name`` is the tensor that the recipe builds on ``device``."""
    lines = [_literal_line(name, recipe)] if _is_small(recipe) else _formula(name, recipe)
    lines += _layout(name, recipe)
    if device != "cpu" and len(lines) == 1 and _is_small(recipe):
        lines = [f"{lines[0]}.to({device!r})"]
    elif device != "cpu":
        lines.append(_moved(name, recipe, device))
    if recipe.grad and _is_small(recipe) and len(lines) == 1:
        return [f"{lines[0]}.requires_grad_()"]
    return [*lines, f"{name}.requires_grad_()"] if recipe.grad else lines


def _literal_line(name: str, recipe: TensorRecipe) -> str:
    import torch

    from .recipes import values

    dtype = f"dtype=torch.{recipe.dtype}"
    shape = literal(list(recipe.shape))
    if recipe.elements == 0:  # nested lists cannot say how wide no rows are
        return f"{name} = torch.zeros({shape}, {dtype})"
    data: torch.Tensor = values(recipe).to(getattr(torch, recipe.dtype), copy=True)
    flat = {literal(value) for value in data.flatten().tolist()}
    if len(flat) == 1 and recipe.elements > 8:
        return f"{name} = torch.full({shape}, {flat.pop()}, {dtype})"
    return f"{name} = torch.tensor({literal(data.tolist())}, {dtype})"


def _formula(name: str, recipe: TensorRecipe) -> list[str]:
    """The recipe's arithmetic in float64, its edits, and one rounding to the dtype."""
    cast = "" if recipe.dtype == "float64" else f".to(torch.{recipe.dtype})"
    base = _base(recipe)
    if not recipe.edits:
        return [f"{name} = {f'({base})' if cast and ' ' in base else base}{cast}"]
    lines = [f"{name} = {base}"]
    for index, value in recipe.edits:
        place = ", ".join(_place(i) for i in index) or "()"
        lines.append(f"{name}[{place}] = {literal(value)}")
    return lines + ([f"{name} = {name}{cast}"] if cast else [])


def _place(index: int | Span | None) -> str:
    if index is None:
        return ":"
    return str(index) if isinstance(index, int) else f"{index[0]}:{index[1]}"


def _base(recipe: TensorRecipe) -> str:
    from .recipes import PRIME

    shape, seed = literal(list(recipe.shape)), recipe.seed
    if recipe.regime == "constant":  # 0 * 2**scale + offset, and never minus zero
        return f"torch.full({shape}, {literal(0.0 + recipe.offset)}, dtype=torch.float64)"
    axis = recipe.class_axis
    if recipe.regime == "levels":
        text = f"(scatter({shape}, {seed}) % {recipe.modulus}).double()"
    elif recipe.regime == "scatter":
        text = f"(scatter({shape}, {seed}) - {PRIME // 2}).double() * 2.0**-13"
    elif recipe.regime == "ramp":
        view = [1] * len(recipe.shape)
        view[axis] = -1
        steps = f"torch.arange({recipe.shape[axis]}, dtype=torch.float64)"
        text = f"{steps}.view({literal(view)}).expand({shape}).clone()"
    else:
        assert recipe.regime == "simplex", recipe.regime
        text = f"simplex({shape}, {seed}, {recipe.modulus}, {axis})"
    if recipe.scale:
        text += f" * 2.0**{recipe.scale}"
    # adding zero matters only to a minus zero that an underflow left
    if recipe.offset or recipe.scale < -1000:
        text += f" + {literal(recipe.offset)}"
    return text


def _fill(recipe: TensorRecipe) -> str:
    import torch

    from .recipes import poison

    return literal(poison(getattr(torch, recipe.dtype)))


#: Layouts in which memory is seen more than once: what of the tensor is there.
SEEN_OFTEN = {"expanded": "[:1]", "repeated": "[..., :1]", "single": ".flatten()[0]"}


def _repeats(recipe: TensorRecipe) -> bool:
    """Whether there is something to see more than once."""
    return len(recipe.shape) > 0 and (recipe.layout != "single" or 0 not in recipe.shape)


def _layout(name: str, recipe: TensorRecipe) -> list[str]:
    """The same steps as ``recipes.lay_out``, on a variable."""
    from .recipes import class_axis

    layout, dims = recipe.layout, len(recipe.shape)
    axis = class_axis(recipe.shape)
    if layout == "shifted":
        filler = f"{name}.new_full((1,), {_fill(recipe)})"
        return [f"{name} = torch.cat([{filler}, {name}.flatten()])[1:].view({name}.shape)"]
    if layout == "transposed" and dims == 2:
        return [f"{name} = {name}.t().contiguous().t()"]
    if layout == "transposed" and dims > 2:
        return [f"{name} = {name}.movedim({axis}, -1).contiguous().movedim(-1, {axis})"]
    if layout in ("strided", "transposed", "spaced") and dims > 0:
        filler = f"torch.full_like({name}, {_fill(recipe)})"
        axis, first = (1, "[:, 0]") if layout == "spaced" else (-1, "[..., 0]")
        return [f"{name} = torch.stack([{name}, {filler}], {axis}){first}"]
    if layout == "padded" and dims > 0:
        filler = f"{name}.new_full(({name}.shape[:-1] + (3,)), {_fill(recipe)})"
        return [f"{name} = torch.cat([{name}, {filler}], -1)[..., :{recipe.shape[-1]}]"]
    if layout in SEEN_OFTEN and _repeats(recipe):
        return [f"{name} = {name}{SEEN_OFTEN[layout]}.expand({name}.shape)"]
    if layout in ("far", "windows") and dims == 2 and recipe.elements:
        spread = _far if layout == "far" else _windows
        return [f"{name} = {spread(name, recipe)}"]
    negated = layout == "negated" and recipe.dtype in ("float32", "float64")
    return [f"{name} = {_negated(name)}"] if negated else []


def _windows(name: str, recipe: TensorRecipe) -> str:
    rows, columns = recipe.shape
    return f"{name}.flatten()[:{rows + columns - 1}].unfold(0, {columns}, 1)"


def _far(name: str, recipe: TensorRecipe) -> str:
    rows, columns = recipe.shape
    stride = 2**31 // max(rows - 1, 1) + 64
    space = f"torch.empty({(rows - 1) * stride + columns}, dtype=torch.{recipe.dtype})"
    return f"{space}.as_strided({name}.shape, ({stride}, 1)).copy_({name})"


def _negated(name: str) -> str:
    return f"torch.complex(torch.zeros_like({name}), -{name}).conj().imag"


def _moved(name: str, recipe: TensorRecipe, device: str) -> str:
    """To another device with the same strides, which ``.to`` would not keep."""
    if recipe.layout in SEEN_OFTEN and _repeats(recipe):
        part = SEEN_OFTEN[recipe.layout]
        return f"{name} = {name}{part}.to({device!r}).expand({name}.shape)"
    if recipe.layout == "negated" and recipe.dtype in ("float32", "float64"):  # lost by .to
        moved = f"{name}.to({device!r})"
        return f"{name} = {_negated(moved)}"
    like = f"{name}.shape, {name}.stride(), dtype={name}.dtype, device={device!r}"
    return f"{name} = torch.empty_strided({like}).copy_({name})"
