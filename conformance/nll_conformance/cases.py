"""Drafts of cases: a plain call, of which a rule varies one thing.

A family says what its plain call is (``families/<name>/cases.py``); a variation is a
function that changes a draft.  ``vary(ignored, weighted)`` makes the ``cases`` of a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st

from .discover import family_part
from .family import Family
from .model import Case, Observation, Profile, Scalar
from .recipes import Edit, Span, TensorRecipe

T = TypeVar("T")
MAX_FINITE = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
}
#: No case is larger than this, whatever the profile.
MAX_ELEMENTS = 300_000


@dataclass(frozen=True)
class Context:
    """What the cases of one rule may use: the subject's abilities, a dtype, a device."""

    family: Family
    rule: str
    dtype: str
    device: str
    capabilities: frozenset[str]
    profile: Profile = "standard"
    max_elements: int = MAX_ELEMENTS
    max_rows: int | None = None
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    mutates: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[Hashable, ...]:
        """All that decides what is drawn, but for capabilities."""
        others = {f.name: getattr(self, f.name) for f in fields(self)}
        others.update(family=self.family.name, fixed=tuple(sorted(self.fixed.items())))
        del others["capabilities"]
        return tuple(others.values())


class Draw:
    """Bounded draws for variations; the same few kinds everywhere."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]; shrinks towards ``low``."""
        return self._draw(st.integers(low, high))

    def among(self, choices: Sequence[T]) -> T:
        """One of ``choices``; shrinks towards the first."""
        return choices[self.integer(0, len(choices) - 1)]

    def yes(self) -> bool:
        """True or false; shrinks towards false."""
        return self.integer(0, 1) == 1


class Lowest(Draw):
    """Draws the simplest of everything: what a smoke test calls with."""

    def __init__(self) -> None:
        """Needs no Hypothesis."""

    def integer(self, low: int, high: int) -> int:
        """The low end."""
        return low


class Stepping(Draw):
    """Neither the simplest nor the wildest of everything, without Hypothesis."""

    def __init__(self, step: int) -> None:
        self._step = step

    def integer(self, low: int, high: int) -> int:
        """A number that differs from draw to draw."""
        self._step += 1
        return low + self._step % (high - low + 1)


def simplest(context: Context, *variations: Variation) -> Case:
    """The smallest plain call, with these variations at their simplest."""
    return settled(context, Lowest(), *variations)


def settled(context: Context, draw: Draw, *variations: Variation) -> Case:
    """A plain call with these variations, as ``draw`` would have it."""
    draft: Draft = family_part(context.family.name, "cases").plain(context, draw)
    for variation in variations:
        variation(draft, draw)
    return draft.case()


def sibling(case: Case) -> Case:
    """A case of the same shapes with other numbers."""
    return replace(
        case,
        recipe=tuple(
            (name, replace(recipe, seed=recipe.seed + 17)) for name, recipe in case.recipe
        ),
    )


def class_column(draft: Draft, index: int | Span, value: float) -> tuple[Edit, ...]:
    """Edits that give a class, or some in a row, this logit; where logits are an argument."""
    logits = draft.tensors["input"]
    place: list[int | Span | None] = [None] * len(logits.shape)
    place[logits.class_axis] = index
    # Dimensions after the class's need no "all along": a shorter index means it.
    return ((tuple(place[: logits.class_axis + 1]), value),)


@dataclass
class Draft:
    """A case in the making.

    ``classes`` is their number (0 for element-wise families), ``rows`` the shape of the
    unreduced loss, and ``fit`` gives every tensor the shape that follows from these two.
    """

    context: Context
    tensors: dict[str, TensorRecipe]
    rows: tuple[int, ...]
    fit: Callable[[Draft], None]
    classes: int = 0
    options: dict[str, Scalar] = field(default_factory=dict)
    #: Changes to the upstream gradient, whose shape follows from the reduction.
    upstream: dict[str, Any] | None = field(default_factory=dict)
    #: The tensor that decides the logits (a fused linear loss has a head instead), and the
    #: edits to it that give one class a logit in every row.
    logits: str = "input"
    column: Callable[[Draft, int, float], tuple[Edit, ...]] = class_column

    def resize(self, rows: tuple[int, ...], classes: int = 0) -> None:
        """Another number of rows and classes; no more rows than the context allows."""
        if len(rows) == 1:
            # Two at least, for rules that ask how rows come together.
            most = max(2, self.context.max_elements // max(1, classes))
            if self.context.max_rows is not None:
                most = min(most, self.context.max_rows)
            rows = (min(rows[0], most),)
        self.rows, self.classes = rows, classes
        self.fit(self)

    def change(self, name: str, **changes: Any) -> None:
        """Replace fields of one tensor's recipe."""
        self.tensors[name] = replace(self.tensors[name], **changes)

    def edit(self, name: str, *edits: Edit) -> None:
        """Append edits to one tensor's recipe."""
        self.change(name, edits=self.tensors[name].edits + edits)

    def can(self, capability: str) -> bool:
        """Whether the subject has a capability."""
        return capability in self.context.capabilities

    def case(self) -> Case:
        """The finished, immutable case."""
        context = self.context
        backward = self.upstream is not None and self.can("gradient")
        case = Case(
            family=context.family.name,
            rule=context.rule,
            recipe=tuple(
                (name, recipe if backward else replace(recipe, grad=False))
                for name, recipe in self.tensors.items()
            ),
            options=self._given(),
            upstream=None,
            dtype=context.dtype,
            device=context.device,
        )
        if not backward:
            return case
        facts = {"regime": "constant", "offset": 1.0, **(self.upstream or {})}
        shape = self.rows if case.reduction == "none" else ()
        if not shape:  # a scalar has no rows to tell apart
            facts.pop("edits", None)
        return replace(case, upstream=TensorRecipe(shape=shape, dtype=context.dtype, **facts))

    def _given(self) -> tuple[tuple[str, Scalar], ...]:
        """The options of the call: those at their default are left out.

        A loss that does not ignore -100 unasked is asked for it.
        """
        defaults = self.context.family.defaults
        options = {**self.options, **self.context.fixed}
        explicit = options.pop("explicit_defaults", False)
        if "reduction" not in defaults:  # the family knows the mean only
            options.pop("reduction", None)
        return tuple(
            (name, value)
            for name, value in options.items()
            if explicit
            or name not in defaults
            or value != defaults[name]
            or (name == "ignore_index" and not self.can("ignore_minus_100"))
        )


Variation: TypeAlias = Callable[[Draft, Draw], None]
#: How a divergence shows: capabilities needed, dtype (any: None), variations of the plain
#: call, and the function that names what was seen.
Probe: TypeAlias = tuple[
    frozenset[str], str | None, tuple[Variation, ...], Callable[[Observation], str | None]
]


@dataclass(frozen=True)
class OneOf:
    """One of several variations; as the first of a rule, each in turn, in this order."""

    choices: tuple[Variation, ...]

    def __call__(self, draft: Draft, draw: Draw) -> None:
        draw.among(self.choices)(draft, draw)


def one_of(*variations: Variation) -> OneOf:
    """One of several variations, the likely killers first."""
    return OneOf(variations)


def all_of(*variations: Variation) -> Variation:
    """Several variations, one after the other."""

    def apply(draft: Draft, draw: Draw) -> None:
        for variation in variations:
            variation(draft, draw)

    return apply


def vary(*variations: Variation) -> Callable[[Context], st.SearchStrategy[Case]]:
    """The cases of a rule: the family's plain call with these things changed in turn."""

    def strategy(context: Context) -> st.SearchStrategy[Case]:
        plain = family_part(context.family.name, "cases").plain

        @st.composite
        def cases(draw: st.DrawFn) -> Case:
            drawing = Draw(draw)
            first, *rest = variations or (unchanged,)
            if isinstance(first, OneOf):  # drawn first of all, so that it walks in order
                first = drawing.among(first.choices)
            draft: Draft = plain(context, drawing)
            for variation in (first, *rest):
                variation(draft, drawing)
            return draft.case()

        return cases()

    return strategy


def explicit_defaults(draft: Draft, draw: Draw) -> None:
    """Every option is passed, at its default."""
    for name, value in draft.context.family.defaults.items():
        reductions = draft.can("reduction_none") or draft.can("reduction_sum")
        if draft.can(name) or (name == "reduction" and reductions):
            draft.options[name] = value
    draft.options["explicit_defaults"] = True


def unchanged(draft: Draft, draw: Draw) -> None:
    """The plain call itself."""


def unreduced(draft: Draft, draw: Draw) -> None:
    """``reduction="none"`` where the subject has it: rows are then judged one by one."""
    if draft.can("reduction_none"):
        draft.options["reduction"] = "none"


def any_reduction(draft: Draft, draw: Draw) -> None:
    """Each reduction that the subject has."""
    names = ["mean"]
    names += [name for name in ("sum", "none") if draft.can(f"reduction_{name}")]
    draft.options["reduction"] = draw.among(names)


def forward_only(draft: Draft, draw: Draw) -> None:
    """Nothing is back-propagated and no tensor requires grad."""
    draft.upstream = None


def option(name: str, *values: Scalar) -> Variation:
    """One option at one of these values."""

    def set_option(draft: Draft, draw: Draw) -> None:
        draft.options[name] = draw.among(values)

    return set_option


def laid_out(name: str, *layouts: str) -> Variation:
    """One tensor in another memory layout."""

    def lay_out(draft: Draft, draw: Draw) -> None:
        if name in draft.tensors:
            draft.change(name, layout=draw.among(layouts))

    return lay_out


def upstream(**facts: Any) -> Variation:
    """Another upstream gradient: fields of its recipe."""

    def set_upstream(draft: Draft, draw: Draw) -> None:
        draft.upstream = dict(facts)

    return set_upstream


def scalar_upstream(draft: Draft, draw: Draw) -> None:
    """An upstream scalar of either sign, not one: loss scaling, accumulation, a weighted sum."""
    # What a loss scaler uses; float16 itself could not hold the gradients.
    large, small = (10, -10) if draft.context.dtype == "float16" else (16, -20)
    offsets = (2.0, -1.0, 0.5, 0.0, -3.0, 2.0**large, 2.0**small)
    draft.upstream = {"offset": draw.among(offsets)}
    # A slice of a longer tensor, as torch.stack(losses) sends to each of them.
    draft.upstream["layout"] = draw.among(("contiguous", "shifted"))


def usual_upstream(draft: Draft, draw: Draw) -> None:
    """An upstream gradient of one, which losses may treat apart."""


def mixed_upstream(draft: Draft, draw: Draw) -> None:
    """A different upstream gradient for each row, of both signs, some zero, the first too."""
    regime = draw.among(("levels", "scatter"))
    draft.upstream = {"regime": regime, "seed": draw.integer(0, 30), "modulus": 5, "offset": 0.0}
    if regime == "levels":
        draft.upstream["offset"] = -2.0
    if draw.yes() and draft.rows and 0 not in draft.rows:
        draft.upstream["edits"] = (((0,) * len(draft.rows), 0.0),)


def expanded_upstream(draft: Draft, draw: Draw) -> None:
    """Numbers seen often through strides of 0, as ``loss.sum().backward()`` sends them.

    Images may be summed over their positions, or over the batch, first.
    """
    layout = draw.among(("single", "repeated", "expanded"))
    if layout == "single" or len(draft.rows) < 2:
        draft.upstream = {"offset": draw.among((1.0, -2.0, 0.5)), "layout": "single"}
    else:
        draft.upstream = {"regime": "scatter", "seed": draw.integer(0, 30), "layout": layout}


def strided_upstream(draft: Draft, draw: Draw) -> None:
    """A different gradient for each row, not contiguous in memory."""
    mixed_upstream(draft, draw)
    assert draft.upstream is not None
    draft.upstream["layout"] = draw.among(("strided", "shifted", "transposed"))
