"""How accurate a loss is: one number on a fixed set of inputs, and a letter for it.

The number is the error in condition units, ``|got - exact| / (u * condition)``, the largest
over the losses and gradients of the set.  ``u`` is the unit roundoff of the input's dtype;
the condition of a row's loss is ``1 + L + D + gap``: the loss, the distance of the logits to
their maximum and of the target's to it (that of the element-wise losses is the sum of the
magnitudes of their terms).  Every implementation is given the same inputs, which no seed and
no profile changes; change them, and :data:`SET_VERSION` must rise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from .cases import Context, Draft, Lowest
from .discover import family_part
from .model import Case

SET_VERSION = 1
#: (rows, classes, scale, offset): logits scattered over +-4 * 2**scale about the offset.
#: One row shows its own error; the mean of many shows how rows are summed.
LOGITS: tuple[tuple[int, int, int, float], ...] = (
    *((1, classes, 0, 0.0) for classes in (2, 3, 10, 33, 65, 257, 1000, 4097, 32000)),
    *((1, classes, 2, 0.0) for classes in (2, 10, 257, 4097)),
    *((1, classes, -6, 0.0) for classes in (3, 257, 4097)),
    *((1, classes, 0, 64.0) for classes in (3, 33, 1000)),
    *((rows, 10, 1, 0.0) for rows in (7, 64, 1000)),
)
#: (elements, scale): the plain call's numbers, times a power of two.
ELEMENTS: tuple[tuple[int, int], ...] = (
    (1, 0),
    (1, 2),
    (1, -4),
    (9, 0),
    (9, 3),
    (100, 0),
    (1000, 1),
    (10000, 0),
)
#: Largest number of condition units for each letter; what is worse is a D.  A, B and C are
#: what blocked or tree sums, sequential sums of random data and less careful exponentials
#: stay under; D is still within the bound that any order of summation keeps.
LETTERS = (("A", 8.0), ("B", 32.0), ("C", 256.0))
#: As many cases as the larger set has; the simplest may come twice.
CASES = len(LOGITS) + 2


def letter(units: float | None) -> str:
    """The letter A to D for an error in condition units; empty where none was measured."""
    if units is None:
        return ""
    return next((name for name, most in LETTERS if units <= most), "D")


def points(context: Context) -> Iterator[Case]:
    """The fixed set, as far as it fits the subject's element cap."""
    plain = family_part(context.family.name, "cases").plain
    # No draw of it depends on a seed: the lowest is always the same.
    vary = _elements if plain(context, Lowest()).classes == 0 else _logits
    for number, draft in enumerate(vary(context, lambda: plain(context, Lowest()))):
        draft.change(draft.logits, seed=number + 1)
        draft.change("target", seed=number + 101)
        yield draft.case()


def _logits(context: Context, plain: Callable[[], Draft]) -> Iterator[Draft]:
    for rows, classes, scale, offset in LOGITS:
        if rows * classes <= context.max_elements:
            draft = plain()
            draft.resize((rows,), classes)
            draft.change(draft.logits, scale=scale, offset=offset)
            yield draft


def _elements(context: Context, plain: Callable[[], Draft]) -> Iterator[Draft]:
    for elements, scale in ELEMENTS:
        if elements <= context.max_elements:
            draft = plain()
            draft.resize((elements,))
            draft.change("input", scale=draft.tensors["input"].scale + scale)
            yield draft


def every_point(context: Context) -> st.SearchStrategy[Case]:
    """The cases of the rule that measures: each point in turn."""
    cases = list(points(context))
    return st.integers(0, len(cases) - 1).map(cases.__getitem__)
