"""Drawing cases and shrinking a failing one, with Hypothesis.

The same seed gives the same cases wherever and with whatever imported: Hypothesis mixes
constants of imported local modules into its draws, so its provider is replaced by one
without them.  That one also stratifies: a small budget meets every choice, the likely
killers (which rules list first) first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import HypothesisException, NoSuchExample
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.strategies import SearchStrategy

from .model import DTYPES

#: Calls spent on making a failing case smaller.
SHRINK_CALLS = 120
#: Ranges up to this size are walked through rather than drawn at random.
STRATA = 128
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
T = TypeVar("T")
_BACKEND = "nll_conformance"


class Start(NamedTuple):
    """Where a search begins: the seed of its rule, and which of the dtypes' turns it is."""

    seed: int
    turn: int = 0


class StratifiedProvider(HypothesisProvider):
    """Integers without constants, each draw stratified over the cases of a search.

    The k-th draw of a case walks through its range in a shuffled order, one value a case,
    before any value comes again; the first draw of all walks in order.  Another dtype goes on
    where the one before it stops: all of them together meet more choices than each alone.
    Ranges too large for that are drawn uniformly.
    """

    seed = 0  # of the current search
    passed = 0  # cases that come before its own in every walk but the first
    begun = 0  # cases begun in it
    orders: ClassVar[dict[tuple[int, int, int], list[int]]] = {}

    def __init__(self, data: Any, /) -> None:
        super().__init__(data)
        self._draws = 0
        self._case = StratifiedProvider.begun
        if data is not None:
            StratifiedProvider.begun += 1

    @classmethod
    def restart(cls, start: Start, cases: int) -> None:
        """Begin a search of so many cases."""
        cls.seed, cls.passed, cls.begun = start.seed, start.turn * cases, 0
        cls.orders.clear()

    def _maybe_draw_constant(self, *args: Any, **kwargs: Any) -> None:
        return None

    def draw_integer(
        self,
        min_value: int | None = None,
        max_value: int | None = None,
        *,
        weights: dict[int, float] | None = None,
        shrink_towards: int = 0,
    ) -> int:
        assert min_value is not None and max_value is not None, "draw bounded integers only"
        assert self._random is not None
        size = max_value - min_value + 1
        draw, self._draws = self._draws, self._draws + 1
        if size > STRATA:
            return self._random.randint(min_value, max_value)
        cycle, position = divmod(self._case + (self.passed if draw else 0), size)
        key = (draw, cycle, size)
        order = self.orders.get(key)
        if order is None:
            order = self.orders[key] = list(range(size))
            if draw or cycle:
                Random(f"{self.seed}/{key}").shuffle(order)
        return min_value + order[position]


AVAILABLE_PROVIDERS[_BACKEND] = f"{__name__}.StratifiedProvider"


def start_for(seed: int, rule_id: str, revision: int, dtype: str) -> Start:
    """The start of one rule under one dtype: independent of which others run."""
    text = f"{seed}/{rule_id}/{revision}".encode()
    return Start(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"), DTYPES.index(dtype))


def smallest(
    strategy: SearchStrategy[T],
    fails: Callable[[T], bool],
    *,
    start: Start,
    cases: int,
    database: Path | None = None,
    key: str = "",
    shrink: bool = True,
) -> T | None:
    """Try ``cases`` cases; the smallest failing one found (the first, unless ``shrink``).

    ``fails`` judges one case.  Once a case has failed, at most :data:`SHRINK_CALLS` more
    calls are spent on smaller ones.  With ``database`` failures of earlier runs come first.
    """
    state: dict[str, Any] = {"best": None, "left": SHRINK_CALLS}

    def condition(case: T) -> bool:
        if state["best"] is not None:
            if state["left"] <= 0:
                # Only the case in hand still counts: Hypothesis then stops at once.
                return bool(case == state["best"])
            state["left"] -= 1
        if not fails(case):
            return False
        state["best"] = case
        return True

    StratifiedProvider.restart(start, cases)
    try:
        return find(
            strategy,
            condition,
            settings=settings(
                max_examples=cases,
                deadline=None,
                database=DirectoryBasedExampleDatabase(database) if database else None,
                phases=PHASES if shrink else PHASES[:2],
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
                backend=_BACKEND,
            ),
            random=Random(f"{start.seed}/{start.turn}"),
            database_key=key.encode() if database else None,
        )
    except NoSuchExample:
        return None
    except HypothesisException:
        # The loss does not fail the same case twice: what was seen still stands.
        if state["best"] is None:
            raise
        return state["best"]  # type: ignore[no-any-return]
