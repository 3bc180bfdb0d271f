"""What other ways of testing catch of the same mutants, and reject of the same variants.

Three kinds, as people write them: a smoke test; a grid of random cases compared with
``F.cross_entropy`` in float32 by ``torch.testing.assert_close``; the same grid under the
tolerances that Liger, quack and JAX use in theirs.  Cross entropy only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from .declare import Amendments, Subject, subject_of
from .discover import mutants, variants
from .model import Implementation

#: dtype -> (rtol, atol) of the loss, the same of the gradient.  assert_close: its defaults.
Tolerances = Mapping[torch.dtype, tuple[tuple[float, float], tuple[float, float]]]

_CLOSE = {
    torch.float32: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
}
#: Read from the test suites of those libraries.
TOLERANCES: dict[str, Tolerances] = {
    "assert_close": {dtype: (close, close) for dtype, close in _CLOSE.items()},
    "Liger": {
        torch.float32: ((1e-6, 1e-8), (1e-6, 1e-8)),
        torch.bfloat16: ((5e-2, 1e-8), (5e-2, 1e-8)),
    },
    "quack": {
        torch.float32: ((1e-5, 5e-5), (1e-5, 5e-5)),
        torch.bfloat16: ((1e-5, 5e-5), (1e-5, 5e-5)),
    },
    "JAX": {
        torch.float32: ((1e-6, 1e-6), (2e-3, 2e-3)),
        torch.bfloat16: ((1e-2, 1e-2), (1e-1, 1e-1)),
    },
}
SHAPES = ((4, 5), (16, 10), (8, 1000), (2, 5, 3), (2, 4, 3, 3))


@dataclass(frozen=True)
class Baseline:
    """How many mutants one way of testing catches, and how many correct losses it rejects."""

    name: str
    caught: tuple[str, ...]
    mutants: int
    rejected: tuple[str, ...]
    variants: int

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``selftest --baselines``."""
        return {
            "name": self.name,
            "caught": len(self.caught),
            "mutants": self.mutants,
            "rejected": len(self.rejected),
            "variants": self.variants,
            "caught_names": list(self.caught),
            "rejected_names": list(self.rejected),
        }


def measure() -> list[Baseline]:
    """Every baseline over the registered mutants and variants of ``cross_entropy``."""
    ways: dict[str, Callable[[Subject], bool]] = {"smoke test": _smoke}
    for name, tolerances in TOLERANCES.items():
        ways[f"grid, {name}"] = partial(_grid, tolerances=tolerances)
    wrong = [m.implementation for m in mutants() if m.implementation.family == "cross_entropy"]
    right = [v for v in variants() if v.family == "cross_entropy" and _plain(v)]
    return [
        Baseline(
            name,
            tuple(i.name for i in wrong if _fails(i, passes)),
            len(wrong),
            tuple(i.name for i in right if _fails(i, passes)),
            len(right),
        )
        for name, passes in ways.items()
    ]


def _plain(implementation: Implementation) -> bool:
    """Whether it takes the usual call: options that it has fixed would be unknown to a grid."""
    subject = subject_of(implementation, implementation.name, Amendments())
    return not subject.fixed and "gradient" in subject.capabilities


def _fails(implementation: Implementation, passes: Callable[[Subject], bool]) -> bool:
    subject = subject_of(implementation, implementation.name, Amendments())
    torch.manual_seed(0)
    try:
        return not passes(subject)
    except Exception:  # noqa: BLE001 - a test that raises has failed
        return True


def _smoke(subject: Subject) -> bool:
    """One random batch: it runs, the loss is a finite scalar, a gradient arrives."""
    logits = torch.randn(8, 10, requires_grad=True)
    value = subject.function(logits, torch.randint(10, (8,)))
    value.sum().backward()
    return bool(torch.isfinite(value).all()) and logits.grad is not None


def _grid(subject: Subject, tolerances: Tolerances) -> bool:
    """A differential grid against PyTorch: randn logits, usual options, loss.sum()."""
    for dtype, shape, options in _cases(subject):
        (rtol, atol), (grad_rtol, grad_atol) = tolerances[dtype]
        logits = torch.randn(shape).to(dtype)
        target = torch.randint(shape[1], (shape[0], *shape[2:]))
        if "ignore_index" in options:
            target.flatten()[:: max(2, target.numel() // 3)] = options["ignore_index"]
        given = dict(options)
        if given.pop("weighted", False):
            given["weight"] = (torch.rand(shape[1]) + 0.5).to(dtype)
        seen = _run(subject.function, logits, target, given)
        want = tuple(t.to(dtype) for t in _run(_in_float32, logits, target, given))
        if not torch.allclose(seen[0].to(want[0].dtype), want[0], rtol, atol, equal_nan=True):
            return False
        if not torch.allclose(seen[1], want[1], grad_rtol, grad_atol, equal_nan=True):
            return False
    return True


def _in_float32(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None, **given: Any
) -> torch.Tensor:
    """The reference, as most kernel tests take it."""
    weight = weight.float() if weight is not None else None
    return F.cross_entropy(logits.float(), target, weight=weight, **given)


def _run(
    function: Callable[..., Any], logits: torch.Tensor, target: torch.Tensor, given: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_()
    # a non-leaf, for losses that overwrite their input
    value = function(leaf.clone(), target, **given)
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def _cases(
    subject: Subject,
) -> Iterator[tuple[torch.dtype, tuple[int, ...], dict[str, Any]]]:
    has = subject.capabilities
    declared = subject.implementation.dtypes
    dtypes = [d for d in (torch.float32, torch.bfloat16) if str(d).split(".")[1] in declared]
    reductions = ["mean", *(r for r in ("sum", "none") if f"reduction_{r}" in has)]
    choices: list[dict[str, Any]] = [{}]
    choices += [{"weighted": True}] if "weight" in has else []
    choices += [{"ignore_index": -100}] if "ignore_index" in has else []
    choices += [{"label_smoothing": 0.1}] if "label_smoothing" in has else []
    for dtype, shape, reduction, options in itertools.product(dtypes, SHAPES, reductions, choices):
        if len(shape) > 2 and "spatial" not in has:
            continue
        if reduction != "mean":
            options = {**options, "reduction": reduction}  # noqa: PLW2901 - a longer copy
        yield dtype, shape, options
