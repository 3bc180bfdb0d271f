"""One loss at one size, verified and ready to be timed by another harness.

For asv and pytest-benchmark, which have their own loops; ``bench`` interleaves instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .. import gpu
from ..engine import Engine
from ..errors import UsageError
from ..wish import Wish
from . import inputs, memory
from .contestant import Call, Copy, Loss, Workplace, logits_of
from .lines import Pass
from .verify import verify


class WrongAnswer(Exception):
    """The loss is not the exact one on the input that it was to be timed with."""


@dataclass(frozen=True)
class Prepared:
    """A verified loss, and a copy of its logits as yardstick.

    ``error_units`` is the worst error in condition units, None where the family has none;
    ``logits_bytes`` what ratios of memory divide by.
    """

    loss: Loss
    copy: Copy
    logits_bytes: int
    error_units: float | None
    device: str

    def ready(self, number: int = 0, *, copy: bool = False) -> Call:
        """Prepare a call of the loss, or the copy, on input ``number`` (0 or 1) and return it.

        It is over when the GPU has done it, too: the clock is another harness's.
        """
        call = (self.copy if copy else self.loss).ready(number)
        if self.device != "cuda":
            return call

        def finished() -> Any:
            answer = call()
            gpu.wait()
            return answer

        return finished

    def elsewhere(self) -> Prepared:
        """The same with the loss's tensors at other addresses, verified already."""
        return replace(self, loss=self.loss.elsewhere())

    def added_bytes(self) -> int | None:
        """The peak of memory that a call adds; None where the system cannot tell."""
        return memory.added_bytes(self.ready, self.device)


def prepare(
    target: str,
    shape: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    phase: Pass = "both",
    family: str | None = None,
    verified: bool = True,
) -> Prepared:
    """Load ``target`` and verify it on inputs of that shape, as ``"2048x32000"``.

    ``verified=False`` is for measuring the memory of a process, most of which would be the
    oracle's.  Raises UsageError where it is not installed, or does not take this dtype, device or
    size; WrongAnswer where it is wrong; and whatever the loss raises.
    """
    subject = Engine(Wish(target, family), lambda case: None).subject
    name = subject.implementation.family
    size = inputs.parse_shape(shape, name)
    given = []
    for number in range(inputs.COUNT):
        case = inputs.case_at(size, name, dtype, device, number)
        if phase == "forward":
            case = inputs.without_gradient(case)
        given.append(case)
    reason = inputs.unsupported(subject, given[0])
    if reason:
        raise UsageError(f"{target!r} {reason}.")
    place = Workplace([inputs.build(case) for case in given])
    loss = Loss(subject, place, phase)
    answers = []
    for number, built in enumerate(place.inputs if verified else ()):
        answer = loss.answer(loss.ready(number)(), keep=True)
        verify(built, [answer])
        if answer.wrong:
            raise WrongAnswer(f"{target}: {answer.wrong}")
        answers.append(answer)
    known = [a.error_units for a in answers if a.error_units is not None]
    logits = logits_of(place, inputs.logits_shape(size, name))
    return Prepared(loss, Copy(logits), logits.nbytes, max(known, default=None), device)
