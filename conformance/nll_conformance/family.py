"""What a family is: one call convention and one mathematical definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Case, Scalar

#: "Right or raises" unless promised; then they must work.
OPTIONAL = ("double_backward", "jvp", "vmap", "compile", "deterministic")

#: What a module class has beyond a function: an object that is called again and again.
OBJECT = "object"

#: Contract capabilities that every family with a ``reduction`` has.
REDUCTIONS = ("reduction_none", "reduction_sum")


@dataclass(frozen=True)
class Family:
    """A loss: its call, its formula, what it can be asked for, where libraries differ.

    ``positional`` tensors are passed by position, in this order; ``tensors`` and
    ``defaults`` (option -> default) by keyword.  ``contract`` capabilities are present
    unless declared absent; ``divergences`` lists the legal values of each behaviour in
    which correct libraries differ, PyTorch's first.
    """

    name: str
    call: str
    formula: str
    source: str
    positional: tuple[str, ...]
    tensors: tuple[str, ...]
    defaults: Mapping[str, Scalar]
    contract: tuple[str, ...]
    divergences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Argument capabilities beyond ``tensors`` and ``defaults``.
    extra_arguments: tuple[str, ...] = ()
    #: Capabilities that nobody is asked for who does not promise them.
    on_promise: tuple[str, ...] = ()
    #: Capabilities that a value of an option brings: name -> (option, value).
    modes: Mapping[str, tuple[str, Scalar]] = field(default_factory=dict)
    #: Tensors whose gradient the plain case asks for.
    differentiable: tuple[str, ...] = ("input",)
    #: The option that says how often the loss comes back, stacked in front.
    copies: str | None = None
    #: What the numbers of a benchmark's shape mean, and the shapes that are taken unasked.
    axes: str = "NxC"
    shapes: tuple[str, ...] = ("2048x32000", "8192x1000")
    #: PyTorch's own function, which others are timed against, where it has one.
    eager: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Capabilities that a parameter of that name brings."""
        options = tuple(name for name in self.defaults if name != "reduction")
        return self.tensors + options + self.extra_arguments

    def numbers(self, case: Case) -> int:
        """How many numbers a mean gives: one, or one for each copy of the loss."""
        if self.copies is None:
            return 1
        return int(case.option(self.copies, self.defaults[self.copies]))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Every capability that this family knows."""
        known = self.arguments + self.contract + self.on_promise + tuple(self.modes)
        return (*known, *OPTIONAL, OBJECT)
