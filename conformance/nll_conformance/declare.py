"""Declarations: what a loss says of itself, and what follows for the rules.

A declaration comes from the registry, from the target (an ``Implementation``, or a callable
decorated with :func:`implementation`), or is inferred from the signature; the command line
completes any of them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .discover import family, family_names, registered
from .errors import UsageError, unknown
from .family import OBJECT, Family
from .model import DEVICES, DTYPES, PRECISIONS, Expected, Implementation, Precision, Scalar

F = TypeVar("F", bound=Callable[..., Any])
ATTRIBUTE = "__nll_conformance__"


@dataclass(frozen=True, eq=False)
class Subject:
    """A loaded loss with its resolved declaration: what the worker runs the rules on.

    ``function`` takes the family's call whatever the target is; ``absent`` tells for each
    missing capability why; ``fixed`` are options that the target itself has set.
    """

    implementation: Implementation
    function: Callable[..., Any]
    declaration: str
    family_assumed: bool
    capabilities: frozenset[str]
    absent: Mapping[str, str]
    precision: Precision = "rounded_rows"
    divergences: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    #: Of a module class: itself, and what is passed to ``forward``, not to the constructor.
    module_class: Callable[..., Any] | None = None
    forward_only: frozenset[str] | None = None
    #: Defaults of its signature that are not its family's.
    own_defaults: Mapping[str, Scalar] = field(default_factory=dict)
    #: Options that an instance was made with and does not show as attributes of their names.
    unseen: tuple[str, ...] = ()
    #: What of torch or the standard library its import replaced (and the suite put back).
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Amendments:
    """What the command line adds to, removes from, and completes."""

    family: str | None = None
    supports: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    declare: Mapping[str, str] = field(default_factory=dict)


def implementation(
    *,
    family: str | None = None,
    name: str | None = None,
    lacks: Iterable[str] = (),
    promises: Iterable[str] = (),
    divergences: Mapping[str, str] | None = None,
    precision: Precision | None = None,
    dtypes: Iterable[str] = DTYPES,
    devices: Iterable[str] = DEVICES,
    mutates: Iterable[str] = (),
    max_elements: int | None = None,
    max_rows: int | None = None,
    expected: Iterable[Expected] = (),
    version: str | None = None,
    url: str | None = None,
) -> Callable[[F], F]:
    """Declare what a loss is and can do; the loss itself stays as it is.

    Arguments are the fields of :class:`~nll_conformance.Implementation`; without
    ``family`` it is found from the parameter names.  Wrong names raise UsageError when the
    loss is checked.
    """

    def declare(function: F) -> F:
        declared = Implementation(
            name=str(name or getattr(function, "__name__", type(function).__name__)),
            load=lambda: function,
            family=family or "",
            lacks=tuple(lacks),
            promises=tuple(promises),
            divergences=dict(divergences or {}),
            precision=precision,
            dtypes=tuple(dtypes),
            devices=tuple(devices),
            mutates=tuple(mutates),
            max_elements=max_elements,
            max_rows=max_rows,
            expected=tuple(expected),
            version=version,
            url=url,
        )
        setattr(function, ATTRIBUTE, declared)
        return function

    return declare


def subject_of(target: Any, name: str, amendments: Amendments) -> Subject:
    """Resolve a target object (callable, partial, module, Implementation) to a subject."""
    declared, word = _declaration(target, name)
    loss = _loaded(declared, name) if declared else target
    if declared is None:
        declared, word = _registered_as(loss, name)
    _require_callable(loss, name)
    signature = _signature(loss)
    parameters = tuple(p.name for p in signature)
    wanted = amendments.family or (declared.family if declared else "")
    assumed = not wanted
    contract = family(wanted or infer_family(parameters))
    if declared is None:
        declared = Implementation(name=name, load=lambda: loss, family=contract.name)
    declared = _amended(replace(declared, family=contract.name), amendments)
    _validate(declared, contract)
    forward_only = _forward_only(loss) if _is_module_class(loss) else None
    if forward_only is None:
        fixed, function = _fixed(loss, contract), loss
    else:
        fixed, function = {}, functools.partial(_construct_and_call, loss, forward_only)
    absent = _absent(declared, contract, parameters, fixed)
    if forward_only is None:
        absent[OBJECT] = "the target is no nn.Module class"
    return Subject(
        implementation=declared,
        function=function,
        declaration=word,
        family_assumed=assumed,
        capabilities=frozenset(c for c in contract.capabilities if c not in absent),
        absent=absent,
        precision=declared.precision or "rounded_rows",
        divergences=dict(declared.divergences),
        fixed=fixed,
        module_class=None if forward_only is None else loss,
        forward_only=forward_only,
        own_defaults={
            p.name: p.default
            for p in signature
            if p.name not in fixed and _differs(p.default, contract.defaults.get(p.name))
        },
        unseen=_unseen(loss, contract) if _is_module(loss) else (),
    )


def _differs(own: Any, default: Scalar) -> bool:
    """Whether both are values, and others."""
    return default is not None and isinstance(own, (str, int, float)) and own != default


def _declaration(target: Any, name: str) -> tuple[Implementation | None, str]:
    if isinstance(target, Implementation):
        known = registered().get(target.name)
        return target, "registered" if known is target else "target"
    declared = getattr(_bare(target), ATTRIBUTE, None)
    if isinstance(declared, Implementation):
        # the target may be a partial, an instance, a wrapper of what was declared
        return replace(declared, name=name, load=lambda: target), "target"
    return None, "inferred"


def _bare(target: Any) -> Any:
    """What a partial fixes options of."""
    return _bare(target.func) if isinstance(target, functools.partial) else target


def _registered_as(loss: Any, name: str) -> tuple[Implementation | None, str]:
    """The registered implementation that is this very object, or what the target fixes options of.

    That is the function of a partial, the class of a module.  Only implementations whose load
    is cheap to compare are asked: those that declare where they live.
    """
    bare = _bare(loss)
    bare = type(bare) if _is_module(bare) else bare
    for item in registered().values():
        where = getattr(item.load, "target", None)
        if where is None:
            continue
        module, _, attribute = where.partition(":")
        if module in sys.modules and getattr(sys.modules[module], attribute, None) is bare:
            return item if bare is loss else replace(item, name=name), "registered"
    return None, "inferred"


def _loaded(declared: Implementation, name: str) -> Any:
    try:
        return declared.load()
    except ImportError as error:
        raise UsageError(f"{name!r} is not installed: {error}") from error


def _require_callable(loss: Any, name: str) -> None:
    if not callable(loss):
        raise UsageError(
            f"target {name!r} is a {type(loss).__name__}, which cannot be called. Give a "
            "function, a functools.partial, an nn.Module class or instance, or an "
            "Implementation."
        )
    made = _bare(loss)
    if made is not loss and _is_module_class(made):
        raise UsageError(
            f"target {name!r} is a functools.partial of the nn.Module class {made.__name__}: a "
            "call makes a module, not a loss. Give the class, or a module that was made with "
            "those options."
        )


def _is_module_class(loss: Any) -> bool:
    import torch

    return inspect.isclass(loss) and issubclass(loss, torch.nn.Module)


def _is_module(loss: Any) -> bool:
    import torch

    return isinstance(loss, torch.nn.Module)


def _signature(loss: Any) -> tuple[inspect.Parameter, ...]:
    """Named parameters of the call; of a module class, constructor's and forward's."""
    try:
        if _is_module_class(loss):
            own = list(inspect.signature(loss).parameters.values())
            own += list(inspect.signature(loss.forward).parameters.values())[1:]
        elif _is_module(loss):
            own = list(inspect.signature(loss.forward).parameters.values())
        else:
            own = list(inspect.signature(loss).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return ()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return tuple(p for p in own if p.kind not in variadic)


def infer_family(parameters: Iterable[str]) -> str:
    """The family that alone has one of these parameter names, else ``cross_entropy``."""
    owners: dict[str, list[str]] = {}
    for name in family_names():
        contract = family(name)
        for parameter in (*contract.positional, *contract.tensors, *contract.defaults):
            owners.setdefault(parameter, []).append(name)
    for parameter in parameters:
        if len(owners.get(parameter, ())) == 1:
            return owners[parameter][0]
    return "cross_entropy"


def _amended(declared: Implementation, amendments: Amendments) -> Implementation:
    contract = family(declared.family)
    for capability in (*amendments.supports, *amendments.lacks):
        if capability not in contract.capabilities:
            raise unknown(f"capability of {contract.name}", capability, contract.capabilities)
    changes: dict[str, Any] = {}
    divergences = dict(declared.divergences)
    for key, value in amendments.declare.items():
        if key == "precision":
            changes[key] = value
        elif key == "mutates":
            changes[key] = tuple(filter(None, value.split("+")))
        elif key in ("max_elements", "max_rows"):
            changes[key] = _positive(key, value)
        elif key in contract.divergences:
            divergences[key] = value
        else:
            choices = ("precision", "mutates", "max_elements", "max_rows", *contract.divergences)
            raise unknown("declaration", key, choices)
    lacks = [c for c in declared.lacks if c not in amendments.supports]
    return replace(
        declared,
        lacks=(*lacks, *amendments.lacks),
        promises=tuple(
            c for c in (*declared.promises, *amendments.supports) if c not in amendments.lacks
        ),
        divergences=divergences,
        **changes,
    )


def _positive(key: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"declaration {key}={text!r} is not a positive whole number.")
    return int(text)


def _validate(declared: Implementation, contract: Family) -> None:
    for capability in (*declared.lacks, *declared.promises):
        if capability not in contract.capabilities:
            raise unknown(f"capability of {contract.name}", capability, contract.capabilities)
    for key, value in declared.divergences.items():
        if key not in contract.divergences:
            raise unknown(f"divergence of {contract.name}", key, contract.divergences)
        if value not in contract.divergences[key]:
            raise unknown(f"value of divergence {key}", value, contract.divergences[key])
    if declared.precision is not None and declared.precision not in PRECISIONS:
        raise unknown("precision", declared.precision, PRECISIONS)
    for what, given, known in (
        ("dtype", declared.dtypes, DTYPES),
        ("device", declared.devices, DEVICES),
        ("tensor", declared.mutates, (*contract.positional, *contract.tensors)),
    ):
        for item in given:
            if item not in known:
                raise unknown(what, item, known)


def _fixed(loss: Any, contract: Family) -> dict[str, Scalar]:
    """Options that the target has set itself."""
    if _is_module(loss):
        found = {name: getattr(loss, name) for name in contract.defaults if hasattr(loss, name)}
        given = {name: getattr(loss, name, None) for name in contract.tensors}
    elif isinstance(loss, functools.partial):
        found = {k: v for k, v in loss.keywords.items() if k in contract.defaults}
        given = {k: v for k, v in loss.keywords.items() if k in contract.tensors}
    else:
        return {}
    tensors = [name for name, value in given.items() if value is not None]
    if tensors:
        raise UsageError(
            f"the target has {' and '.join(tensors)} built in; its cases would all have that "
            "size. Check the class or function itself instead."
        )
    return found


def _unseen(loss: Any, contract: Family) -> tuple[str, ...]:
    made_with = inspect.signature(type(loss)).parameters
    return tuple(
        name for name in contract.defaults if name in made_with and not hasattr(loss, name)
    )


def _forward_only(loss: Any) -> frozenset[str]:
    """Parameters that ``forward`` of a module class has and its constructor has not."""
    constructor = inspect.signature(loss).parameters
    _, *late = inspect.signature(loss.forward).parameters
    return frozenset(late) - constructor.keys()


def _construct_and_call(loss: Any, late: frozenset[str], *tensors: Any, **options: Any) -> Any:
    """An ``nn.Module`` class: options (and weights) to the constructor, tensors to forward."""
    forward = {name: options.pop(name) for name in late & options.keys()}
    return loss(**options)(*tensors, **forward)


def _absent(
    declared: Implementation,
    contract: Family,
    parameters: tuple[str, ...],
    fixed: Mapping[str, Scalar],
) -> dict[str, str]:
    """Each capability that the subject does not have, and why."""
    absent: dict[str, str] = {}
    for name in contract.arguments:
        if name in fixed:
            absent[name] = f"{name} is fixed by the target"
        elif name not in parameters and name not in declared.promises:
            absent[name] = f"no parameter {name}"
    for name in contract.on_promise:
        if name not in declared.promises:
            absent[name] = f"{name} is not promised"
    absent |= _fixed_away(contract, absent, fixed)
    for name in declared.lacks:
        absent[name] = f"declared: lacks {name}"
    if "soft_target" in absent and "target_gradient" in contract.capabilities:
        # indices have no gradient
        absent.setdefault("target_gradient", absent["soft_target"])
    return absent


def _fixed_away(
    contract: Family, absent: Mapping[str, str], fixed: Mapping[str, Scalar]
) -> dict[str, str]:
    """What the options that the target has set itself leave out, beside those options."""
    gone: dict[str, str] = {}
    for name, (option, value) in contract.modes.items():
        if fixed.get(option, value) != value:
            gone[name] = f"{option} is fixed by the target"
        elif option not in fixed and option in absent and value != contract.defaults[option]:
            gone[name] = absent[option]
    if "reduction" in fixed:
        for name in ("reduction_none", "reduction_sum"):
            gone[name] = "reduction is fixed by the target"
    ignored = fixed.get("ignore_index")
    if isinstance(ignored, int) and ignored != contract.defaults.get("ignore_index"):
        gone["ignore_minus_100"] = "ignore_index is fixed by the target"
        if ignored >= 0:  # which class probabilities cannot be combined with
            gone["soft_target"] = "ignore_index is fixed at a class"
    return gone
