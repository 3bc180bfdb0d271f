"""Cases and exact values that several losses in one process have in common.

The same seed gives the same cases to every loss of the same abilities, and the oracle says
the same of them.  A self-test therefore draws and solves them once for many losses; any
other run keeps only the last few exact values, since rules judge some cases twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from .model import Case
from .truth import Truth

T = TypeVar("T")


class Latest(Generic[T]):
    """The last ``limit`` answers, by question."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._known: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """The answer, found anew only where it is not known."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        self._known[key] = answer = find()
        while len(self._known) > self.limit:
            self._known.popitem(last=False)
        return answer

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


#: Tensors of larger cases are not kept for other losses.
LARGEST = 4096
#: The last exact values.
latest: Latest[Truth] = Latest(4)
#: Those of a self-test, of cases up to LARGEST elements; empty elsewhere.
lasting: Latest[Truth] = Latest(0)


class Asked(frozenset[str]):
    """Capabilities that remember which of them were asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.answers: dict[str, bool] = {}

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self.answers[str(name)] = found
        return found

    def alike(self, others: frozenset[str]) -> bool:
        """Whether others would have given the same answers."""
        return all((name in others) == found for name, found in self.answers.items())


#: The cases of a rule that no loss failed, by all that decides what is drawn.
drawn: dict[Hashable, list[tuple[Asked, list[Case]]]] = {}


def keep_for_others() -> None:
    """Other losses will be judged in this process by the same rules."""
    lasting.limit = 20_000


def exact(case: Case, terms: Hashable, find: Callable[[], Truth]) -> Truth:
    """The oracle's word on a case under these terms (precision, dtype, ...)."""
    small = all(recipe.elements <= LARGEST for _, recipe in case.recipe)
    known = lasting if lasting.limit and small else latest
    return known.get((case, terms), find)
