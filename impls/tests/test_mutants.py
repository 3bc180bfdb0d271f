"""Every mutant states its fault, names rules that exist, and is right where it may be."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance.discover import family, rules_of
from nll_conformance.model import DTYPES, PRECISIONS, Mutant
from nll_conformance.rules._families import LOGITS
from nll_impls import mutants as package
from nll_impls.mutants import mutants
from nll_impls.mutants._base import Call, by_hand, cross_entropy

ALL = mutants()
NAMES = {mutant.implementation.name: mutant for mutant in ALL}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A few numbers are no work for two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_name(mutant: Mutant) -> str:
    return mutant.implementation.name


def logits(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def indices(shape: tuple[int, ...]) -> Tensor:
    classes = shape[0] if len(shape) == 1 else shape[1]
    rows = () if len(shape) == 1 else (shape[0], *shape[2:])
    return torch.randint(classes, rows, generator=torch.Generator().manual_seed(1))


def differentiated(loss: Any, input: Tensor, *rest: Tensor, **options: Any) -> list[Tensor]:
    leaf = input.clone().requires_grad_()
    value = loss(leaf, *rest, **options)
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    return [value.detach(), grad]


def plain_calls() -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    return [
        ((3, 5), {}),
        ((5,), {}),
        ((2, 5, 3), {"reduction": "mean"}),
        ((4, 3), {"reduction": "sum"}),
        ((2, 3), {"weight": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)}),
        ((3, 4), {"label_smoothing": 0.25}),
    ]


def is_right(loss: Any, shape: tuple[int, ...], options: dict[str, Any]) -> bool:
    arguments = (logits(shape), indices(shape))
    want = differentiated(F.cross_entropy, *arguments, **options)
    try:
        got = differentiated(loss, *arguments, **options)
    except (RuntimeError, IndexError, NameError):
        return False
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-13)
        for a, b in zip(got, want, strict=True)
    )


def test_every_module_contributes() -> None:
    modules = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_"]
    assert modules
    assert {name.partition(".")[0] for name in NAMES} == set(modules)


def test_names_are_unique() -> None:
    assert len(NAMES) == len(ALL)


def test_every_function_of_a_mutant_module_is_found() -> None:
    for name in {name.partition(".")[0] for name in NAMES}:
        module = importlib.import_module(f"{package.__name__}.{name}")
        functions = ast.parse(inspect.getsource(module)).body
        public = [f.name for f in functions if isinstance(f, ast.FunctionDef) and f.name[0] != "_"]
        assert [f"{name}.{f}" for f in public] == [n for n in NAMES if n.startswith(f"{name}.")]


@pytest.mark.parametrize("mutant", ALL, ids=by_name)
def test_declaration(mutant: Mutant) -> None:
    own = mutant.implementation
    contract = family(own.family)
    assert set(own.lacks + own.promises) <= set(contract.capabilities)
    assert own.precision in PRECISIONS
    assert own.dtypes and set(own.dtypes) <= set(DTYPES)
    assert all(value in contract.divergences[key] for key, value in own.divergences.items())
    assert pickle.loads(pickle.dumps(own.load)).target == own.load.target


@pytest.mark.parametrize("mutant", ALL, ids=by_name)
def test_says_what_where_and_by_which_rules(mutant: Mutant) -> None:
    docstring = inspect.getdoc(mutant.implementation.load())
    assert docstring == mutant.fault, "the docstring is one line"
    assert mutant.fault.endswith(".") and len(mutant.fault) <= 96
    assert mutant.source
    known = rules_of(mutant.implementation.family)
    assert 1 <= len(mutant.caught_by) <= 3
    assert len(set(mutant.caught_by)) == len(mutant.caught_by)
    for rule_id in mutant.caught_by:
        assert rule_id in known
        absent = set(known[rule_id].needs) & set(mutant.implementation.lacks)
        assert not absent


@pytest.mark.parametrize("mutant", ALL, ids=by_name)
def test_takes_the_call_of_its_family(mutant: Mutant) -> None:
    contract = family(mutant.implementation.family)
    parameters = inspect.signature(mutant.implementation.load()).parameters
    assert tuple(parameters)[: len(contract.positional)] == contract.positional
    for option, default in contract.defaults.items():
        assert parameters[option].default == default


def concerns_any_number(mutant: Mutant) -> bool:
    """Whether the fault is in the arithmetic that every call needs, not in an option."""
    rules = [rules_of(mutant.implementation.family)[rule_id] for rule_id in mutant.caught_by]
    arithmetic = {"values", "gradients", "stability"}
    return mutant.implementation.name.startswith("numeric_") or any(
        rule.theme in arithmetic and rule.families == LOGITS for rule in rules
    )


@pytest.mark.parametrize("mutant", ALL, ids=by_name)
def test_is_right_on_some_plain_call(mutant: Mutant) -> None:
    loss = mutant.implementation.load()
    calls = plain_calls()
    if concerns_any_number(mutant):
        value = loss(logits((3, 5)), indices((3, 5)))
        assert value.shape == () and value.isfinite()
    else:
        assert any(is_right(loss, shape, options) for shape, options in calls)


@pytest.mark.parametrize("base", [cross_entropy, by_hand])
def test_the_base_is_right(base: Any) -> None:
    def loss(*tensors: Tensor, **options: Any) -> Tensor:
        result: Tensor = base(Call(*tensors, **options))
        return result

    for shape, options in plain_calls():
        assert is_right(loss, shape, options)
        if shape[1:]:
            ignored = indices(shape)
            ignored.view(-1)[0] = -100
            got = differentiated(loss, logits(shape), ignored, **options)
            want = differentiated(F.cross_entropy, logits(shape), ignored, **options)
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize("base", [cross_entropy, by_hand])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_base_gives_ignored_rows_no_gradient_whatever_they_hold(
    base: Any, reduction: str
) -> None:
    input = logits((3, 4))
    input[1] = torch.nan
    leaf = input.requires_grad_()
    loss = base(Call(leaf, torch.tensor([0, -100, 3]), reduction=reduction))
    (grad,) = torch.autograd.grad(loss.sum(), leaf)
    assert (grad[1] == 0).all()
    assert loss.isfinite().all() and grad.isfinite().all()
