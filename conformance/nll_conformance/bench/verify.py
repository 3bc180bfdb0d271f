"""Holding the answers to one input against the oracle before anything is timed.

Large inputs are judged in blocks of rows, so that the oracle's float64 fits: under a mean
of ``N`` counted rows a block of ``n`` is the family's own case with the upstream gradient
``n / N``.  Its exact gradient and bound are those of the whole call; gradients that sum over
the rows (a head's) add up, with the bound of a sum of ``N`` terms.  Every entry is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from .. import bounds
from ..declare import Subject
from ..discover import family, family_part
from ..judge import compare
from ..model import Case, Finding, Measured, Precision
from ..recipes import TensorRecipe
from ..truth import Exact, Truth
from .inputs import Input

#: Logits of a block: a float64 tensor of 16 MiB, of which the oracle holds some twenty.
BLOCK_ELEMENTS = 2**21
#: Rows whose exact gradient is kept, to be compared after every timed call.
SPOT_ROWS = 4

Tensors = Mapping[str, torch.Tensor]


class Kind(NamedTuple):
    """What the truth depends on beside the input."""

    precision: Precision
    output_dtype: torch.dtype


@dataclass
class Answer:
    """What an implementation said of one input, and how it was judged."""

    subject: Subject
    dtype: str
    value: torch.Tensor
    grads: dict[str, torch.Tensor | None]
    wrong: str = ""
    error_over_bound: float | None = None
    error_units: float | None = None
    #: What of the answer was judged by a bound that zeros would have broken.
    told: set[str] = field(default_factory=set)

    @property
    def kind(self) -> Kind:
        """Which truth holds for it."""
        half = self.dtype in ("float16", "bfloat16")
        return Kind(self.subject.precision if half else "fp32_inside", self.value.dtype)

    def hold(self, what: str, got: torch.Tensor | None, exact: Exact, start: int = 0) -> None:
        """Compare one tensor, or a block of it that begins at row ``start``."""
        if got is None:
            self.wrong = self.wrong or f"no gradient arrived at {what}"
            return
        shown = f"{what} from row {start} on: {what}" if start else what
        for item in compare(shown, got, exact, self.dtype):
            if isinstance(item, Finding):
                self.wrong = self.wrong or item.message
            else:
                self._count(what, item)

    def _count(self, what: str, seen: Measured) -> None:
        for name in ("error_over_bound", "error_units"):
            known = [x for x in (getattr(self, name), getattr(seen, name)) if x is not None]
            setattr(self, name, max(known, default=None))
        if seen.judged and seen.discriminating:
            self.told.add(what)

    def untold(self) -> tuple[str, ...]:
        """The parts for which no comparison could have told right from wrong."""
        wanted = ["loss", *(f"gradient of {name}" for name in self.grads)]
        return tuple(what for what in wanted if what not in self.told)


@dataclass(frozen=True)
class Spot:
    """What every timed answer to this input is compared with: the loss, some rows."""

    value: Exact
    rows: dict[str, Exact]

    def contradicts(self, answer: Answer) -> str:
        """How the answer differs from what it has to be; empty if it does not."""
        answer.hold("loss", answer.value, self.value)
        for name, exact in self.rows.items():
            got = answer.grads.get(name)
            if got is not None:
                answer.hold(f"gradient of {name}", got[: len(exact.value)], exact)
        return answer.wrong


def verify(given: Input, answers: list[Answer]) -> dict[Kind, Spot]:
    """Judge every answer to one input; what timed calls will be compared with."""
    spots = {}
    for kind in {answer.kind for answer in answers}:
        spots[kind] = _judge(given, kind, [a for a in answers if a.kind == kind])
    return spots


def _judge(given: Input, kind: Kind, answers: list[Answer]) -> Spot:
    case = given.case
    parts = _Parts(case, kind)
    rows: dict[str, Exact] = {}
    for place, exact in _truths(given, kind):
        parts.add(exact.value, place)
        for name, truth in _judged(exact, place.of, parts.largest).items():
            if name in _row_tensors(case):
                rows.setdefault(name, _first(truth, SPOT_ROWS))
                for answer in answers:
                    got = answer.grads.get(name)
                    here = None if got is None else got[place.rows]
                    answer.hold(f"gradient of {name}", here, truth, place.rows.start)
            else:
                parts.collect(name, truth, place)
    value = parts.value()
    for answer in answers:
        answer.hold("loss", answer.value, value)
        for name, truth in parts.sums.items():
            answer.hold(f"gradient of {name}", answer.grads.get(name), truth)
    return Spot(value, rows)


def _judged(truth: Truth, count: int, largest: float) -> dict[str, Exact]:
    """The gradients; none where the mean's count does not fit 16 bits that it is kept in."""
    return {} if count > largest else truth.grads


@dataclass(frozen=True)
class _Place:
    """A block: its rows, how many of them count, and how many count in all."""

    rows: slice
    kept: int
    of: int


def _truths(given: Input, kind: Kind) -> Iterator[tuple[_Place, Truth]]:
    case, tensors = given.case, given.tensors
    rows = len(tensors["input"])
    oracle = family_part(case.family, "oracle")
    if not _has_classes(case):  # element-wise: sums of any sign, judged whole
        yield _Place(slice(0, rows), rows, rows), _truth(oracle, case, tensors, kind)
        return
    total = int(oracle.kept_rows(case, tensors).sum())
    size = max(1, BLOCK_ELEMENTS * rows // max(1, _logits(tensors)))
    for start in range(0, rows, size):
        here = slice(start, start + size)
        block = {n: t[here] if n in _row_tensors(case) else t for n, t in tensors.items()}
        kept = int(oracle.kept_rows(case, block).sum())
        yield _Place(here, kept, total), _truth(oracle, _share(case, kept / total), block, kind)


def _truth(oracle: Any, case: Case, tensors: Tensors, kind: Kind) -> Truth:
    found = oracle.truth(
        case, tensors, precision=kind.precision, output_dtype=kind.output_dtype, divergences={}
    )
    assert isinstance(found, Truth)
    return found


def _share(case: Case, share: float) -> Case:
    if case.upstream is None:
        return case
    return replace(case, upstream=TensorRecipe("constant", (), "float64", offset=share))


def _has_classes(case: Case) -> bool:
    target = case.tensor("target")
    return target is not None and target.dtype == "int64"


def _row_tensors(case: Case) -> tuple[str, ...]:
    """Tensors whose first dimension is that of the rows."""
    if not _has_classes(case):
        return tuple(name for name, _ in case.recipe)
    return tuple(n for n in family(case.family).positional if n in ("input", "target"))


def _logits(tensors: Tensors) -> int:
    head = tensors.get("linear_weight")
    if head is None:
        return tensors["input"].numel()
    return len(tensors["input"]) * max(head.shape)


def _first(exact: Exact, count: int) -> Exact:
    kappa = None if exact.condition is None else exact.condition[:count].clone()
    return Exact(exact.value[:count].clone(), exact.bound[:count].clone(), kappa)


class _Parts:
    """The whole call's loss, and its sums over rows, from those of the blocks."""

    def __init__(self, case: Case, kind: Kind) -> None:
        self.sums: dict[str, Exact] = {}
        self._how = bounds.arithmetic(getattr(torch, case.dtype), kind.precision)
        self._output = bounds.FORMATS[kind.output_dtype]
        self.largest = min(self._how.rows.largest, self._how.compute.largest)
        self._values: list[Exact] = []
        self._kept: list[int] = []

    def add(self, value: Exact, place: _Place) -> None:
        """The mean of a block's rows."""
        self._values.append(value)
        self._kept.append(place.kept)

    def value(self) -> Exact:
        """The mean of all rows: each row stands for its block's mean, whose bound it has.

        Row losses of negative log-probabilities have one sign, so that no cancellation
        among the rows of a block is lost.
        """
        if len(self._values) == 1:
            return self._values[0]
        kept = torch.tensor(self._kept)
        means, errors, conditions = (
            torch.stack([getattr(v, name) for v in self._values]).repeat_interleave(kept)
            for name in ("value", "bound", "condition")
        )
        size = means.abs()
        terms = bounds.Terms(means, errors, size, size, conditions)
        count = int(kept.sum())
        below = bounds.Denominator(float(count), float(count), False, count, count)
        return bounds.mean(terms, below, self._how, self._output)

    def collect(self, name: str, part: Exact, place: _Place) -> None:
        """A block's part of a gradient that sums over the rows.

        A bound of a sum of n terms grows at most linearly in n.
        """
        if place.kept == 0:
            return
        wider = (place.of + 4) / (place.kept + 4)
        part = replace(part, bound=part.bound * wider)
        known = self.sums.get(name)
        if known is not None:
            kappa = None
            if known.condition is not None and part.condition is not None:
                kappa = known.condition + part.condition
            part = Exact(known.value + part.value, known.bound + part.bound, kappa)
        self.sums[name] = part
