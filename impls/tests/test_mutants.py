"""Every mutant states its fault, names rules that exist, and is right where it may be."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import math
import pickle
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypeGuard

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_conformance import state
from nll_conformance.declare import Amendments, subject_of
from nll_conformance.discover import family, rules_of
from nll_conformance.model import DTYPES, PRECISIONS, Mutant
from nll_conformance.rules._families import LOGITS
from nll_impls import mutants as package
from nll_impls.losses import causal_shifted, linear_then_cross_entropy, prob_gather
from nll_impls.mutants import mutants
from nll_impls.mutants._base import Call, by_hand, cross_entropy
from nll_impls.mutants._shards import Parallel, parallel

ALL = mutants()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Some change the process (the default dtype, ...), which other tests share."""
    with state.kept():
        yield


#: What the one formula of a family's plain call is judged by: whose mutants name one of
#: these first may be wrong everywhere.
ARITHMETIC = (
    "gaussian_nll.element_loss",
    "gaussian_nll.gradients",
    "gaussian_nll.floor_is_no_addend",
    "poisson_nll.log_rate_gradient",
    "bce_with_logits.element_loss",
    "bce_with_logits.gradient",
    "nll.gathers_exactly",
    "prob_nll.row_loss",
    "prob_nll.no_epsilon",
    "linear_cross_entropy.head_gradient",
    "causal_cross_entropy.next_label",
    "causal_cross_entropy.last_position",
    "causal_cross_entropy.no_leak",
    "causal_cross_entropy.first_label",
    "nll.not_normalised_again",
    "nll.gradient_at_target_alone",
    "poisson_nll.log_rate",
    "prob_nll.not_normalised_again",
    "prob_nll.gradient_at_target_alone",
    "vocab_parallel_cross_entropy.every_rank",
    "vocab_parallel_cross_entropy.own_gradient",
)
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
    return [value.detach(), grad.to_dense() if grad.is_sparse else grad]


def plain_calls() -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    return [
        ((3, 5), {}),
        ((5,), {}),
        ((2, 5, 3), {"reduction": "mean"}),
        ((4, 3), {"reduction": "sum"}),
        ((4, 3), {"reduction": "none"}),
        ((2, 3), {"weight": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)}),
        ((3, 4), {"label_smoothing": 0.25}),
    ]


def called_as_a_function(mutant: Mutant) -> Any:
    """The loss; of a module class one that makes an object for each call."""
    return subject_of(mutant.implementation, mutant.implementation.name, Amendments()).function


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


def is_loss(node: ast.stmt, module: ModuleType) -> TypeGuard[ast.FunctionDef | ast.ClassDef]:
    """Whether the statement makes a public function or a module class."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name[0] == "_":
        return False
    return isinstance(node, ast.FunctionDef) or is_module_class(getattr(module, node.name))


def is_module_class(loss: Any) -> bool:
    return inspect.isclass(loss) and issubclass(loss, torch.nn.Module)


def test_every_function_and_class_of_a_mutant_module_is_found() -> None:
    for name in {name.partition(".")[0] for name in NAMES}:
        module = importlib.import_module(f"{package.__name__}.{name}")
        made = [each for each in ast.parse(inspect.getsource(module)).body if is_loss(each, module)]
        public = [each.name for each in made]
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
    loss = mutant.implementation.load()
    parameters = inspect.signature(loss).parameters
    late = (
        inspect.signature(functools.partial(loss.forward, None)) if is_module_class(loss) else None
    )
    tensors = tuple(late.parameters if late else parameters)
    assert tensors[: len(contract.positional)] == contract.positional
    for option, default in contract.defaults.items():
        assert parameters[option].default == default


def numbers(*shape: int, least: float = -1.0, most: float = 1.0) -> Tensor:
    steps = torch.arange(math.prod(shape), dtype=torch.float64) * 5 % 7 / 6
    return (least + (most - least) * steps).reshape(shape)


def right_on_each(input: Tensor, target: Tensor, ranks: int = 2, **options: Any) -> Tensor:
    """The unsplit loss once for each rank, which differentiates a part of it."""
    part = F.cross_entropy(input, target, **options) / ranks
    return torch.stack([part + (ranks - 1) * part.detach()] * ranks)


def calls_of(name: str) -> tuple[Any, list[tuple[tuple[Tensor, ...], dict[str, Any]]]]:
    """A right loss of the family and plain calls of it."""
    shapes = [(3,), (2, 3), (1,), ()]
    if name == "gaussian_nll":
        tensors = [(numbers(*s), 1 - numbers(*s), numbers(*s, least=0.5)) for s in shapes]
        return F.gaussian_nll_loss, [(t, {}) for t in tensors]
    if name == "poisson_nll":
        tensors = [(numbers(*s), numbers(*s, least=2.0, most=5.0)) for s in shapes]
        return F.poisson_nll_loss, [(t, {}) for t in tensors]
    if name == "bce_with_logits":
        tensors = [(numbers(*s), (numbers(*s) > 0).double()) for s in shapes]
        return F.binary_cross_entropy_with_logits, [(t, {}) for t in tensors]
    if name == "causal_cross_entropy":
        labels = torch.tensor([[1, 0, 2, 2], [2, 1, 1, 0]])
        return causal_shifted.loss, [((logits((2, 4, 3)), labels), {})]
    if name == "linear_cross_entropy":
        tensors = logits((4, 3)), logits((5, 3)), torch.tensor([0, 4, 2, 2])
        return linear_then_cross_entropy.loss, [(tensors, {}), (tensors, {"reduction": "sum"})]
    if name == "vocab_parallel_cross_entropy":
        calls = [(logits(s), indices(s)) for s, _ in plain_calls()]
        return right_on_each, [(t, {}) for t in calls]
    given = [(logits(s).softmax(0 if len(s) == 1 else 1), indices(s)) for s, _ in plain_calls()]
    if name == "nll":
        return F.nll_loss, [((p.log(), t), {}) for p, t in given]
    return prob_gather.loss, [((p, t), {}) for p, t in given]


def agrees_somewhere(mutant: Mutant) -> bool:
    loss = called_as_a_function(mutant)
    right, calls = calls_of(mutant.implementation.family)
    for arguments, options in calls:
        want = differentiated(right, *arguments, **options)
        try:
            got = differentiated(loss, *arguments, **options)
        except (RuntimeError, IndexError, TypeError):
            continue
        pairs = list(zip(got, want, strict=True))
        if all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-12) for a, b in pairs):
            return True
    return False


def concerns_any_number(mutant: Mutant) -> bool:
    """Whether the fault is in the arithmetic that every call needs, not in an option."""
    if mutant.caught_by[0] in ARITHMETIC:
        return True
    rules = [rules_of(mutant.implementation.family)[rule_id] for rule_id in mutant.caught_by]
    arithmetic = {"values", "gradients", "stability"}
    return mutant.implementation.name.startswith("numeric_") or any(
        rule.theme in arithmetic and rule.families == LOGITS for rule in rules
    )


@pytest.mark.parametrize("mutant", ALL, ids=by_name)
def test_is_right_on_some_plain_call(mutant: Mutant) -> None:
    loss = called_as_a_function(mutant)
    calls = plain_calls()
    if mutant.implementation.family != "cross_entropy":
        assert concerns_any_number(mutant) or agrees_somewhere(mutant)
    elif concerns_any_number(mutant):
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


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_the_base_of_several_ranks_is_right(ranks: int) -> None:
    for shape, options in plain_calls():
        found = [
            differentiated(loss, logits(shape), indices(shape), ranks=ranks, **options)
            for loss in (lambda *t, **o: parallel(Parallel(*t, **o)), right_on_each)
        ]
        torch.testing.assert_close(*found)


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
