"""What takes part in the rounds: losses, and copies of the logits as the memory limit.

``ready`` does everything that is not to be timed and returns the call that is.  Every call
finds new contents at the same addresses, so that an answer kept from an earlier call is a
wrong one; a loss that overwrites a tensor gets a fresh copy, as everywhere in the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch

from ..declare import Subject
from ..discover import family
from .inputs import Input
from .lines import Pass
from .verify import Answer

Call: TypeAlias = Callable[[], Any]
#: What a timed call of a loss returns: anything at all, meant to be the loss, and gradients.
Answered: TypeAlias = tuple[Any, Sequence[torch.Tensor | None]]


class Contestant(Protocol):
    """Something to be timed."""

    name: str
    version: str | None

    def ready(self, number: int) -> Call:
        """Prepare a call on input ``number`` and return it."""
        ...


class Workplace:
    """The tensors that every call gets, refilled from one of the inputs before it."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self.inputs = inputs
        self.tensors = {
            name: tensor.detach().clone().requires_grad_(tensor.requires_grad)
            for name, tensor in inputs[0].tensors.items()
        }

    @torch.no_grad()
    def fill(self, number: int) -> None:
        """Put input ``number`` there."""
        for name, tensor in self.inputs[number].tensors.items():
            self.tensors[name].copy_(tensor)


def logits_of(place: Workplace, shape: tuple[int, ...]) -> torch.Tensor:
    """What the copies copy: the logits themselves, or as many where no tensor holds them."""
    own = place.tensors["input"].detach()
    return own if own.shape == shape else own.new_ones(shape)


class Loss:
    """A loss, forward or backward or both; its call returns the loss and gradients."""

    def __init__(self, subject: Subject, place: Workplace, phase: Pass) -> None:
        self.name = subject.implementation.name
        self.version = subject.implementation.version
        self.subject = subject
        self._place = place
        self._phase = phase
        self._positional = family(subject.implementation.family).positional
        self._leaves = {n: t for n, t in place.tensors.items() if t.requires_grad}

    def ready(self, number: int) -> Call:
        self._place.fill(number)
        given = {
            name: tensor.clone() if name in self.subject.implementation.mutates else tensor
            for name, tensor in self._place.tensors.items()
        }
        arguments = [given.pop(name) for name in self._positional]

        def forward() -> torch.Tensor:
            value: torch.Tensor = self.subject.function(*arguments, **given)
            return value

        def both() -> Answered:
            value = forward()
            return value, self._backward(value)

        if self._phase == "both":
            return both
        if self._phase == "forward":
            return torch.no_grad()(lambda: (forward(), ()))
        value = forward()
        return lambda: (value, self._backward(value))

    def elsewhere(self) -> Loss:
        """The same with tensors at other addresses."""
        return Loss(self.subject, Workplace(self._place.inputs), self._phase)

    def _backward(self, value: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        leaves = tuple(self._leaves.values())
        return torch.autograd.grad(value, leaves, allow_unused=True)

    def answer(self, answered: Answered, *, keep: bool = False) -> Answer:
        """What a call returned, as it is judged; ``keep`` copies what others may reuse."""
        value, grads = answered
        if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
            raise TypeError(f"the call returned {type(value).__name__}, not a floating tensor")
        found = {
            name: g.clone() if keep and g is not None else g
            for name, g in zip(self._leaves, grads, strict=False)
        }
        dtype = self._place.inputs[0].case.dtype
        return Answer(self.subject, dtype, value.detach().clone(), found)


class Copy:
    """The logits copied into memory that is already there: the limit of the machine."""

    name = "copy"
    version: str | None = None

    def __init__(self, logits: torch.Tensor) -> None:
        self._from = logits
        self._to = logits.clone()

    def ready(self, number: int) -> Call:
        return lambda: self._to.copy_(self._from)


class Clone:
    """The logits copied into fresh memory, which the system has to provide first."""

    name = "clone"
    version: str | None = None

    def __init__(self, logits: torch.Tensor) -> None:
        self._from = logits

    def ready(self, number: int) -> Call:
        return self._from.clone
