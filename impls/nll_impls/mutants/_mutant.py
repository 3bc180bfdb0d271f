"""What makes a mutant of a faulty function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from nll_conformance import Implementation, lazily
from nll_conformance.declare import ATTRIBUTE
from nll_conformance.model import DTYPES, Mutant, Precision

#: The attribute by which a loss is known as a mutant.
MARK = "__nll_mutant__"
#: In what correct libraries differ, mutants do as PyTorch does.
AS_PYTORCH: Mapping[str, str] = {
    "all_ignored_mean": "nan",
    "empty_mean": "nan",
    "half_output": "input",
}

Loss: TypeAlias = Callable[..., Any]


def mutant(
    *,
    source: str,
    caught_by: tuple[str, ...],
    family: str,
    call: type,
    precision: Precision = "fp32_inside",
    lacks: tuple[str, ...] = (),
    promises: tuple[str, ...] = (),
    divergences: Mapping[str, str] = AS_PYTORCH,
    dtypes: tuple[str, ...] = DTYPES,
    mutates: tuple[str, ...] = (),
) -> Callable[[Callable[[Any], Any]], Loss]:
    """Make a loss of a function of one ``call``, and a mutant of the loss.

    A module class is a loss already.

    ``call`` is a dataclass whose fields are the arguments of the family's call.  The first
    line of the function's docstring states the fault; ``source`` says where it was met and
    ``caught_by`` names the rules that speak of it, the most specific first.  The mutant is
    called ``<module>.<function>``.
    """

    def declare(fault: Callable[..., Any]) -> Loss:
        loss = fault if inspect.isclass(fault) else _of_one_call(fault, call)
        implementation = Implementation(
            name=f"{fault.__module__.rpartition('.')[2]}.{fault.__name__}",
            load=lazily(f"{fault.__module__}:{fault.__name__}"),
            family=family,
            lacks=lacks,
            promises=promises,
            divergences=divergences,
            precision=precision,
            dtypes=dtypes,
            mutates=mutates,
        )
        statement = (fault.__doc__ or "").partition("\n")[0]
        setattr(loss, ATTRIBUTE, implementation)
        setattr(loss, MARK, Mutant(implementation, statement, source, caught_by))
        return loss

    return declare


def _of_one_call(fault: Callable[[Any], Any], call: type) -> Loss:
    @functools.wraps(fault)
    def loss(*tensors: Any, **options: Any) -> Any:
        return fault(call(*tensors, **options))

    # A caller sees the arguments of the family's call, not those of the fault: inspect looks for
    # this attribute, which functions are not declared to have.
    loss.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]
    return loss
