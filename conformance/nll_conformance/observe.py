"""Calling the loss under test and writing down all that the call did."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

# torch imports this, and sympy with it, at the first backward; the loss is not to blame for
# the time, nor for the warning filter that sympy adds.
import torch.fx.experimental.symbolic_shapes

from . import gpu
from .discover import family
from .errors import TargetRaised
from .foreign import guarded, name_of, text_of
from .model import Case, Observation
from .originals import picture
from .recipes import build
from .state import settings

if TYPE_CHECKING:
    from .declare import Subject

Tensors = Mapping[str, torch.Tensor]
_clock = time.perf_counter  # the loss may replace it


class Caller:
    """Calls one loss with cases; a rule's only way to it.

    ``announce`` is told each case before the loss sees it, so that a case which takes the
    process down is known afterwards.
    """

    def __init__(self, subject: Subject, announce: Callable[[Case], None]) -> None:
        self.subject = subject
        self.family = family(subject.implementation.family)
        self._announce = announce
        self._last: Case | None = None
        #: The cases called since the judge of one case began.
        self.called: list[Case] = []
        #: What foreign code changed in this process and was put back, since then.
        self.changed: list[str] = []
        #: Whether a call has ended this process's use of the GPU.
        self.gpu_lost = False

    def __call__(self, case: Case) -> Observation:
        """Forward, and backward where the case has an upstream gradient.

        Raises TargetRaised where the loss or its backward raises, or gives no tensor.
        """
        arguments = self.tensors(case)
        start = _clock()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = self.forward(case, arguments)
            grads = self.flow_back(case, arguments, value)
        return self.observation(
            case,
            value,
            grads,
            arguments,
            warnings=tuple(text_of(w.message) for w in caught if isinstance(w.message, Warning)),
            seconds=_clock() - start,
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
        self._announced(case)
        return case.build()

    def _announced(self, case: Case) -> None:
        if case is not self._last:
            self._last = case
            self._announce(case)

    def forward(self, case: Case, arguments: Tensors, **extra: Any) -> torch.Tensor:
        """The loss of these tensors under the case's options; ``extra`` adds keywords."""
        self._announced(case)
        self.called.append(case)
        value = self.guard("the call", lambda: self.invoke(case, arguments, **extra))
        return plain_tensor("the call returned", value)

    def invoke(self, case: Case, arguments: Tensors, **extra: Any) -> Any:
        """The bare call: positional tensors, then the rest by keyword, defaults left out."""
        function, positional, keywords = self.arguments(case, arguments)
        return function(*positional, **keywords, **extra)

    def arguments(
        self, case: Case, arguments: Tensors
    ) -> tuple[Callable[..., Any], list[torch.Tensor], dict[str, Any]]:
        """The loss, and what to call it with."""
        fixed = self.subject.fixed
        given = {
            # A loss that overwrites a tensor gets a fresh non-leaf one.
            name: tensor.clone() if name in self.subject.implementation.mutates else tensor
            for name, tensor in arguments.items()
            if name not in fixed
        }
        positional = [given.pop(name) for name in self.family.positional]
        return self.subject.function, positional, {**given, **self.options(case)}

    @contextmanager
    def one_object(self, case: Case) -> Iterator[frozenset[str]]:
        """All calls go to one object of the module class, made as for this case.

        Gives the names of what it was made with.
        """
        subject = self.subject
        assert subject.module_class is not None and subject.forward_only is not None
        _, _, keywords = self.arguments(case, self.tensors(case))
        made = {n: value for n, value in keywords.items() if n not in subject.forward_only}
        loss = self.guard("the constructor", functools.partial(subject.module_class, **made))
        fixed = {**subject.fixed, **made}
        self.subject = replace(subject, function=loss, fixed=fixed, forward_only=None)
        try:
            yield frozenset(made)
        finally:
            self.subject = subject

    def options(self, case: Case) -> dict[str, Any]:
        """The options to pass: those that the target has fixed itself are left out."""
        return {n: value for n, value in case.options if n not in self.subject.fixed}

    def backward(self, value: torch.Tensor, upstream: torch.Tensor, **options: Any) -> None:
        """Back-propagate; what that raises is the loss's."""
        self.guard("backward", lambda: torch.autograd.backward(value, upstream, **options))

    def gradient(
        self, value: torch.Tensor, leaf: torch.Tensor, upstream: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """The gradient of one tensor by ``torch.autograd.grad``; what that raises is the loss's."""
        return self.gradients(value, [leaf], upstream, **options)[0]

    def gradients(
        self,
        value: torch.Tensor,
        leaves: Sequence[torch.Tensor],
        upstream: torch.Tensor,
        **options: Any,
    ) -> list[torch.Tensor]:
        """The gradients of several tensors by one ``torch.autograd.grad``."""
        found = self.guard(
            "torch.autograd.grad",
            lambda: torch.autograd.grad(value, leaves, upstream, **options),
        )
        return [plain_tensor("torch.autograd.grad returned", tensor) for tensor in found]

    def guard(self, during: str, work: Callable[[], Any]) -> Any:
        """Run foreign ``work``; what it raises is TargetRaised, what it changed is put back."""
        before = settings()

        def finished() -> Any:
            result = work()
            gpu.wait()
            return result

        try:
            return guarded(during, finished)
        except TargetRaised as raised:
            self.gpu_lost = gpu.lost()
            if gpu.full(raised.error):  # by other processes: nobody's fault
                raise torch.OutOfMemoryError(text_of(raised.error)) from None
            raise
        finally:
            self.changed += settings().put_back(before)
            self.changed += picture().put_back(everything=False)

    def upstream(self, case: Case, value: torch.Tensor) -> torch.Tensor:
        """The case's upstream gradient in the dtype of the loss's output."""
        assert case.upstream is not None
        return build(case.upstream, case.device).to(value.dtype)

    def flow_back(
        self, case: Case, arguments: Tensors, value: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        """The gradients after the case's backward; none where it has none, or no such shape."""
        if case.upstream is None or value.shape != case.upstream.shape:
            return {}
        self.backward(value, self.upstream(case, value))
        return self.grads(arguments)

    @staticmethod
    def grads(arguments: Tensors) -> dict[str, torch.Tensor | None]:
        """The gradients that have arrived at the tensors that require one."""
        return {
            name: None
            if t.grad is None
            else dense(plain_tensor(f"the gradient of {name} is", t.grad))
            for name, t in arguments.items()
            if t.requires_grad
        }


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers, none left out: a gradient may be sparse."""
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def plain_tensor(what: str, value: Any) -> torch.Tensor:
    """``value`` if it is a floating tensor; one of a class of its own may lie about itself."""
    kind = type(value)
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        own = [name for name in vars(value) if hasattr(kind, name)]
        if value.dtype.is_floating_point and not own:
            return value  # type: ignore[no-any-return]
        kind_name = f"a tensor with a {own[0]} of its own" if own else str(value.dtype)
    else:
        kind_name = name_of(value)
        if issubclass(kind, torch.Tensor):
            kind_name += ", a class of tensors of its own,"
    error = TypeError(f"{what} {kind_name}, not a floating tensor")
    raise TargetRaised(error, "the call")
