"""Calling the loss under test and writing down all that the call did."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

# torch imports this, and sympy with it, at the first backward; the loss is not to blame for
# the time, nor for the warning filter that sympy adds.
import torch.fx.experimental.symbolic_shapes

from .discover import family
from .errors import TargetRaised
from .model import Case, Observation
from .recipes import build

if TYPE_CHECKING:
    from .declare import Subject

Tensors = Mapping[str, torch.Tensor]


class Caller:
    """Calls one loss with cases; a rule's only way to it.

    ``announce`` is told each case before the loss sees it, so that a case which takes the
    process down is known afterwards.
    """

    def __init__(self, subject: Subject, announce: Callable[[Case], None]) -> None:
        self.subject = subject
        self.family = family(subject.implementation.family)
        self._announce = announce
        #: The cases called since the judge of one case began.
        self.called: list[Case] = []

    def __call__(self, case: Case) -> Observation:
        """Forward, and backward where the case has an upstream gradient.

        Raises TargetRaised where the loss or its backward raises, or gives no tensor.
        """
        arguments = self.tensors(case)
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = self.forward(case, arguments)
            grads = self._flow_back(case, arguments, value)
        return self.observation(
            case,
            value,
            grads,
            arguments,
            warnings=tuple(str(w.message) for w in caught),
            seconds=time.perf_counter() - start,
        )

    def observation(
        self,
        case: Case,
        value: torch.Tensor,
        grads: Mapping[str, torch.Tensor | None],
        arguments: Tensors | None = None,
        **facts: Any,
    ) -> Observation:
        """An observation that a rule put together itself, to be judged like any other."""
        return Observation(
            case=case,
            value=value,
            grads=dict(grads),
            arguments=dict(arguments or {}),
            precision=self.subject.precision,
            divergences=self.subject.divergences,
            **facts,
        )

    def attempt(self, case: Case) -> Observation | TargetRaised:
        """As a call, but what the loss raises is returned."""
        try:
            return self(case)
        except TargetRaised as raised:
            return raised

    def tensors(self, case: Case) -> dict[str, torch.Tensor]:
        """Fresh tensors for one call."""
        return case.build()

    def forward(self, case: Case, arguments: Tensors, **extra: Any) -> torch.Tensor:
        """The loss of these tensors under the case's options; ``extra`` adds keywords."""
        self._announce(case)
        self.called.append(case)
        value = self._guarded("the call", lambda: self.invoke(case, arguments, **extra))
        if not isinstance(value, torch.Tensor) or not value.dtype.is_floating_point:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            error = TypeError(f"the call returned {kind}, not a floating tensor")
            raise TargetRaised(error, "the call")
        return value

    def invoke(self, case: Case, arguments: Tensors, **extra: Any) -> Any:
        """The bare call: positional tensors, then the rest by keyword, defaults left out."""
        fixed = self.subject.fixed
        given = {
            # A loss that overwrites a tensor gets a fresh non-leaf one.
            name: tensor.clone() if name in self.subject.implementation.mutates else tensor
            for name, tensor in arguments.items()
            if name not in fixed
        }
        positional = [given.pop(name) for name in self.family.positional]
        return self.subject.function(*positional, **given, **self.options(case), **extra)

    def options(self, case: Case) -> dict[str, Any]:
        """The options to pass: those that the target has fixed itself are left out."""
        return {n: value for n, value in case.options if n not in self.subject.fixed}

    def backward(self, value: torch.Tensor, upstream: torch.Tensor, **options: Any) -> None:
        """Back-propagate; what that raises is the loss's."""
        self._guarded("backward", lambda: torch.autograd.backward(value, upstream, **options))

    def upstream(self, case: Case, value: torch.Tensor) -> torch.Tensor:
        """The case's upstream gradient in the dtype of the loss's output."""
        assert case.upstream is not None
        return build(case.upstream, case.device).to(value.dtype)

    def _flow_back(
        self, case: Case, arguments: Tensors, value: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        if case.upstream is None or value.shape != case.upstream.shape:
            return {}
        self.backward(value, self.upstream(case, value))
        return self.grads(arguments)

    @staticmethod
    def grads(arguments: Tensors) -> dict[str, torch.Tensor | None]:
        """The gradients that have arrived at the tensors that require one."""
        return {name: t.grad for name, t in arguments.items() if t.requires_grad}

    @staticmethod
    def _guarded(during: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (KeyboardInterrupt, TargetRaised):
            raise
        except BaseException as error:  # foreign code may raise anything, SystemExit too
            raise TargetRaised(error, during) from error
