"""Rounds: everything once in each, in a new order, so that all meet the same machine."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .clock import Sample, timed
from .contestant import Contestant, Loss
from .inputs import COUNT
from .verify import Kind, Spot


@dataclass
class Measured:
    """The samples of the complete rounds, by contestant, and who failed on the way."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    raised: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def times(self, name: str) -> list[float]:
        """Milliseconds, a number for each round."""
        return [sample.time_ms for sample in self.samples.get(name, ())]

    def ratios(self, name: str, to: str) -> list[float]:
        """The time of one over that of another within each round."""
        return [a / b for a, b in zip(self.times(name), self.times(to), strict=True)]


def run(
    contestants: Sequence[Contestant],
    spots: Sequence[Mapping[Kind, Spot]],
    rounds: int,
    device: str,
    seed: int,
    told: Callable[[int], None],
) -> Measured:
    """Time every contestant once a round; Ctrl-C keeps the complete rounds.

    ``spots`` are, for each input, what a timed answer has to agree with.  A loss that
    raises or answers wrongly is left out from there on and has no samples.
    """
    found = Measured({c.name: [] for c in contestants})
    order = random.Random(seed)
    left = list(contestants)
    with _collected():
        try:
            for number in range(rounds):
                told(number)
                order.shuffle(left)
                now = {c.name: _sample(c, spots, order, device, found) for c in left}
                left = [c for c in left if now[c.name] is not None]
                for name, sample in now.items():
                    if sample is None:
                        found.samples.pop(name)
                    else:
                        found.samples[name].append(sample)
        except KeyboardInterrupt:
            found.interrupted = True
    return found


def _sample(
    contestant: Contestant,
    spots: Sequence[Mapping[Kind, Spot]],
    order: random.Random,
    device: str,
    found: Measured,
) -> Sample | None:
    number = order.randrange(COUNT)
    try:
        sample, answered = timed(contestant.ready(number), device)
        if not isinstance(contestant, Loss):
            return sample
        answer = contestant.answer(answered)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        found.raised[contestant.name] = describe(error)
        return None
    wrong = spots[number][answer.kind].contradicts(answer)
    if wrong:
        found.wrong[contestant.name] = f"verified before, but wrong while timed: {wrong}"
        return None
    return sample


def describe(error: BaseException) -> str:
    """The exception in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


@contextmanager
def _collected() -> Iterator[None]:
    """Garbage is collected before, not while, calls are timed."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
