"""Recipes: tensors described by a line of exact integer arithmetic and a few edits.

Hypothesis draws recipes, never elements, so that a case stays small, shrinks fast, and
can be printed as the line of torch that makes it.  Base values are integers; they are
multiplied by a power of two in float64, offset, edited, and rounded once to the dtype,
which gives the same bits on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch

#: Largest prime below 2**16: the modulus of the scatter.
PRIME = 65521
#: Tensors of up to this many elements are printed as literals.
LITERAL_ELEMENTS = 64

REGIMES = ("constant", "ramp", "levels", "scatter", "simplex")
LAYOUTS = (
    *("contiguous", "shifted", "transposed", "strided", "padded", "spaced"),
    *("expanded", "repeated", "single", "far", "negated", "windows"),
)

#: From one place to before another.
Span = tuple[int, int]
Index = tuple[int | Span | None, ...]
Edit = tuple[Index, float]


@dataclass(frozen=True)
class TensorRecipe:
    """How to make one tensor.

    ``value = base * 2**scale + offset``, then ``edits``, then the dtype, then ``layout``:

    - ``constant``: base 0;
    - ``ramp``: base is the position along the class dimension (dim 1, or 0 of a vector);
    - ``levels``: pseudo-random integers in [0, modulus);
    - ``scatter``: pseudo-random numbers in [-4, 4] (multiples of 2**-13);
    - ``simplex``: along the class dimension non-negative multiples of 2**-8 that sum to 1.

    An edit ``(index, value)`` overwrites entries; in the index ``None`` means "all along this
    dimension" and ``(start, stop)`` a part of it.  ``grad`` asks for the gradient of this tensor.
    """

    regime: str
    shape: tuple[int, ...]
    dtype: str
    scale: int = 0
    offset: float = 0.0
    seed: int = 0
    modulus: int = 1
    edits: tuple[Edit, ...] = ()
    layout: str = "contiguous"
    grad: bool = False
    #: The class dimension where it is not dim 1 (or 0 of a vector).
    axis: int | None = None

    @property
    def class_axis(self) -> int:
        """The dimension that holds the classes."""
        return class_axis(self.shape) if self.axis is None else self.axis

    @property
    def elements(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


def class_axis(shape: tuple[int, ...]) -> int:
    """The dimension that holds the classes: 1, or 0 of an unbatched vector."""
    return 1 if len(shape) > 1 else 0


def _scatter(recipe: TensorRecipe) -> torch.Tensor:
    """Integers in [0, PRIME), a cubic residue sequence that differs for each seed."""
    j = torch.arange(recipe.elements, dtype=torch.int64) + 131 * recipe.seed
    mixed = (j * j % PRIME * (j % PRIME) + 40503 * j + j // PRIME) % PRIME
    return mixed.reshape(recipe.shape)


def _base(recipe: TensorRecipe) -> torch.Tensor:
    shape = recipe.shape
    if recipe.regime == "constant":
        return torch.zeros(shape, dtype=torch.float64)
    if recipe.regime == "levels":
        return (_scatter(recipe) % recipe.modulus).double()
    if recipe.regime == "scatter":
        return (_scatter(recipe) - PRIME // 2).double() * 2.0**-13
    axis = recipe.class_axis
    if recipe.regime == "ramp":
        steps = torch.arange(shape[axis], dtype=torch.float64)
        view = [1] * len(shape)
        view[axis] = -1
        return steps.view(view).expand(shape).clone()
    assert recipe.regime == "simplex", recipe.regime
    counts = _scatter(recipe) % recipe.modulus
    first = counts.narrow(axis, 0, 1)
    first += 256 - counts.sum(axis, keepdim=True)
    return counts.double() * 2.0**-8


@lru_cache(maxsize=8)
def values(recipe: TensorRecipe) -> torch.Tensor:
    """The tensor's numbers before rounding to its dtype, float64, contiguous; not to be changed.

    Kept for a moment: one case is built for the loss and again for the oracle.
    """
    data = _base(recipe) * 2.0**recipe.scale + recipe.offset
    for index, value in recipe.edits:
        data[tuple(_selected(i) for i in index)] = value
    return data


def _selected(place: int | Span | None) -> int | slice:
    if place is None:
        return slice(None)
    return place if isinstance(place, int) else slice(*place)


def poison(dtype: torch.dtype) -> float:
    """What lies between the elements of a strided layout: a read there must show."""
    return math.nan if dtype.is_floating_point else 0


def lay_out(data: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values and shape in another memory layout; what lies between is poison."""
    fill = poison(data.dtype)
    if layout == "shifted":  # starts one element into its storage
        return torch.cat([data.new_full((1,), fill), data.flatten()])[1:].view(data.shape)
    if layout == "transposed" and data.dim() > 1:
        return (
            data.movedim(class_axis(data.shape), -1)
            .contiguous()
            .movedim(-1, class_axis(data.shape))
            if data.dim() > 2
            else data.t().contiguous().t()
        )
    if layout in ("strided", "transposed", "spaced") and data.dim() > 0:
        # every second element, or every second row
        axis = 1 if layout == "spaced" else -1
        return torch.stack([data, torch.full_like(data, fill)], axis).select(axis, 0)
    if layout == "padded" and data.dim() > 0:  # a slice of wider rows
        pad = data.new_full((*data.shape[:-1], 3), fill)
        return torch.cat([data, pad], -1)[..., : data.shape[-1]]
    if layout in ("expanded", "repeated") and data.dim() > 0:
        # rows share memory, or the last dimension does
        return (data[:1] if layout == "expanded" else data[..., :1]).expand(data.shape)
    if layout == "single" and data.dim() > 0 and data.numel():  # one number seen everywhere
        return data.flatten()[0].expand(data.shape)
    if layout == "windows" and data.dim() == 2 and data.numel():
        # each row begins one element after the one before it
        rows, columns = data.shape
        return data.flatten()[: rows + columns - 1].unfold(0, columns, 1)
    if layout == "far" and data.dim() == 2 and data.numel():
        # rows further apart than 2**31 elements
        rows, columns = data.shape
        stride = 2**31 // max(rows - 1, 1) + 64
        spread = data.new_empty((rows - 1) * stride + columns)
        spread = spread.as_strided((rows, columns), (stride, 1))
        data = spread.copy_(data)
    elif layout == "negated" and data.dtype in (torch.float32, torch.float64):
        # a view whose sign torch has not applied yet; complex numbers of 16 bits it has not
        data = torch.complex(torch.zeros_like(data), -data).conj().imag
    return data


def build(recipe: TensorRecipe, device: str = "cpu") -> torch.Tensor:
    """A fresh tensor of this recipe; a leaf that requires grad where the recipe says so."""
    dtype = getattr(torch, recipe.dtype)
    # Laid out on the device itself: a copy would lose strides, offset and poison.
    data = lay_out(values(recipe).to(dtype, copy=True).to(device), recipe.layout)
    return data.requires_grad_(recipe.grad)


def recipe_to_json(recipe: TensorRecipe) -> dict[str, Any]:
    """The recipe as a JSON object, fields at their default left out."""
    data = {
        key: value
        for key, value in asdict(recipe).items()
        if value != TensorRecipe.__dataclass_fields__[key].default
    }
    if recipe.edits:
        data["edits"] = [[list(index), _number_out(value)] for index, value in recipe.edits]
    data["shape"] = list(recipe.shape)
    if "offset" in data:
        data["offset"] = _number_out(recipe.offset)
    return data


def recipe_from_json(data: Mapping[str, Any]) -> TensorRecipe:
    """The recipe that :func:`recipe_to_json` described."""
    fields = dict(data)
    fields["shape"] = tuple(fields["shape"])
    fields["edits"] = tuple(
        (tuple(tuple(i) if isinstance(i, list) else i for i in index), float(value))
        for index, value in fields.get("edits", ())
    )
    fields["offset"] = float(fields.get("offset", 0.0))
    return TensorRecipe(**fields)


def _number_out(value: float) -> float | str:
    """JSON has no infinities: they travel as strings, which ``float`` reads back."""
    return value if math.isfinite(value) else str(value)
