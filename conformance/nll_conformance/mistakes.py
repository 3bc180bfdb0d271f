"""Classic mistakes: what a loss that gives wrong numbers seems to compute instead.

A few calls with small, fixed inputs are compared with a table of formulas.  The answer is a
guess for the reader of a failure, never a verdict.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .cases import Draft, Stepping
from .declare import Subject
from .discover import family_part
from .model import Case
from .observe import Caller
from .recipes import class_axis
from .run import context_for

Tensors: TypeAlias = Mapping[str, Tensor]
#: What a loss would return for the tensors of a probe, and the sentence that says so.
Candidate: TypeAlias = tuple[str, Callable[["Probe"], Tensor]]

#: Relative distance below which two formulas count as one.
CLOSE = {"float64": 1e-6, "float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
LOG_PROBABILITIES = "the input is treated as log-probabilities (family nll)"
PROBABILITIES = "the input is treated as probabilities (family prob_nll)"
LOGITS = "the input is treated as logits (family cross_entropy)"


@dataclass(frozen=True)
class Probe:
    """One call at default options, what came, and what should have come (float64).

    ``rows`` are the unreduced losses, ``mean`` the reduced one.
    """

    case: Case
    tensors: Tensors
    got: Tensor
    mean: Tensor
    rows: Tensor

    def formula(self, **changed: Tensor) -> Tensor:
        """The family's own loss of other tensors."""
        return _formula(self.case, {**self.tensors, **changed})


def looks_like(subject: Subject, device: str = "cpu") -> str | None:
    """One sentence on what ``subject`` seems to compute, ``None`` if nothing fits.

    To be asked only of a loss that has failed; calls it up to a dozen times, raises nothing.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return _look(subject, device)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  # foreign code: a guess is not worth an error
        return None


def _look(subject: Subject, device: str) -> str | None:
    for name, default in subject.own_defaults.items():
        return (
            f"its default of {name} is {default!r}, not this family's; a partial of it that sets "
            f"{name} is judged as that"
        )
    if subject.unseen:
        return (
            f"it was made with a {' and a '.join(subject.unseen)} that it does not show: an "
            "attribute of that name tells what to hold it to"
        )
    calls = list(_calls(subject, device))
    caller = Caller(subject, lambda case: None)
    probes = []
    for case, tensors in calls:
        value = _answer(caller, case, tensors)
        if value is not None:
            exact = _exact(tensors)
            rows = _formula(_unreduced(case), exact)
            probes.append(Probe(case, exact, value, _formula(case, exact), rows))
    if not probes:
        return _other_call(caller, *calls[0])
    close = CLOSE[calls[0][0].dtype]
    if all(_same(p.got, p.mean, close) for p in probes):
        return None
    for sentence, candidate in _candidates(subject.implementation.family):
        if _fits(probes, candidate, close):
            return sentence
    return None


def _calls(subject: Subject, device: str) -> Iterator[tuple[Case, dict[str, Tensor]]]:
    """Plain calls of two sizes, and one whose input lies in (0, 1): fit for any formula."""
    declared = subject.implementation
    wide = [d for d in ("float64", "float32") if d in declared.dtypes]
    dtype = (*wide, *declared.dtypes)[0]
    context = context_for(subject, "mistakes", dtype, device)
    context = replace(context, capabilities=context.capabilities - {"gradient"})
    for step in (3, 7, 3):
        draft: Draft = family_part(declared.family, "cases").plain(context, Stepping(step))
        draft.upstream = None
        case = draft.case()
        yield case, case.build()
    tensors = case.build()
    shape = tensors["input"].shape
    spread = (torch.arange(shape.numel()) * 7 % 11 + 1).view(shape) / 13
    yield case, {**tensors, "input": spread.to(tensors["input"])}


def _answer(caller: Caller, case: Case, tensors: Tensors) -> Tensor | None:
    """What the loss returns, float64; ``None`` if it raises or returns no tensor."""
    try:
        value = caller.invoke(case, tensors)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  # foreign code may raise anything
        return None
    return value.detach().cpu().double() if isinstance(value, Tensor) else None


def _exact(tensors: Tensors) -> dict[str, Tensor]:
    return {
        name: t.detach().cpu().double() if t.dtype.is_floating_point else t.cpu()
        for name, t in tensors.items()
    }


def _unreduced(case: Case) -> Case:
    return replace(case, options=(*case.options, ("reduction", "none")))


def _formula(case: Case, tensors: Tensors) -> Tensor:
    value = family_part(case.family, "oracle").formula(case, tensors)
    assert isinstance(value, Tensor)
    return value


def _same(got: Tensor, want: Tensor, close: float) -> bool:
    if got.numel() != want.numel():
        return False
    a, b = got.flatten(), want.flatten()
    return bool(torch.allclose(a, b, rtol=close, atol=close * 1e-2, equal_nan=True))


def _fits(probes: list[Probe], candidate: Callable[[Probe], Tensor], close: float) -> bool:
    """Whether the formula gives what came, on each probe, and not merely NaN or infinity."""
    telling = False
    for probe in probes:
        want = candidate(probe)
        if not _same(probe.got, want, close):
            return False
        finite = bool(want.isfinite().all())
        telling |= finite and not _same(probe.mean, want, close)
    return telling


# --- the table ----------------------------------------------------------------------------


def _candidates(family: str) -> Iterator[Candidate]:
    """The likeliest first; none is what the family itself asks for."""
    yield from OWN.get(family, ())
    if family in ROWS:
        for sentence, rows, right_for in CLASS_MISTAKES:
            if family not in right_for:
                yield from _reduced(sentence, _of_rows(rows, ROWS[family]))
    yield from ANY
    yield from _reduced("", _negated)


def _negated(probe: Probe) -> Tensor:
    return -probe.rows


def _reduced(sentence: str, rows: Callable[[Probe], Tensor]) -> Iterator[Candidate]:
    """The mistake under the mean, and together with a forgotten reduction."""
    flipped = "the sign is flipped: it returns the log-likelihood"
    lead = sentence or flipped
    if sentence:
        yield sentence, lambda p: rows(p).mean()
    yield f"{lead}; and it sums instead of taking the mean", lambda p: rows(p).sum()
    yield f"{lead}; and it does not reduce", rows


def _elements(probe: Probe) -> Tensor:
    return probe.rows.sum() / probe.tensors["input"].numel()


ANY: tuple[Candidate, ...] = (
    ("the sign is flipped: it returns the log-likelihood", lambda p: -p.mean),
    ("it sums: the default reduction is the mean", lambda p: p.rows.sum()),
    ("it does not reduce: the default reduction is the mean", lambda p: p.rows),
    ("the logarithm is to base 2: it returns the loss in bits", lambda p: p.mean / math.log(2)),
    ("the logarithm is to base 10", lambda p: p.mean / math.log(10)),
    ("it returns the perplexity exp(loss)", lambda p: p.mean.exp()),
    ("it returns the likelihood exp(-loss)", lambda p: (-p.mean).exp()),
    ("it divides by all entries of the input, not by the rows", _elements),
    ("it returns twice the loss", lambda p: 2 * p.mean),
    ("it returns half the loss", lambda p: p.mean / 2),
    ("it returns the absolute value of the loss", lambda p: p.mean.abs()),
    ("it returns 0 whatever it is given", lambda p: torch.zeros_like(p.mean)),
)


def _at(values: Tensor, target: Tensor) -> Tensor:
    return values.gather(1, target.unsqueeze(1)).squeeze(1)


def _cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    return -_at(x.log_softmax(1), t)


def _right(x: Tensor, t: Tensor) -> Tensor:
    """1 where the largest entry is the target's."""
    return (x.argmax(1) == t).double()


#: sentence, row losses of (N, C) numbers and (N,) classes, families whose definition it is.
CLASS_MISTAKES: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor], tuple[str, ...]], ...] = (
    (f"it returns -input[target]: {LOG_PROBABILITIES}", lambda x, t: -_at(x, t), ("nll",)),
    (
        f"it returns -log(input[target]): {PROBABILITIES}",
        lambda x, t: -_at(x.log(), t),
        ("prob_nll",),
    ),
    (
        f"it returns -log_softmax(input)[target]: {LOGITS}",
        _cross_entropy,
        ("cross_entropy", "linear_cross_entropy", "causal_cross_entropy"),
    ),
    (
        "softmax is applied twice: it takes softmax(input) for logits",
        lambda x, t: _cross_entropy(x.softmax(1), t),
        (),
    ),
    (
        "the logarithm is missing: it returns -softmax(input)[target]",
        lambda x, t: -_at(x.softmax(1), t),
        (),
    ),
    (
        "it divides the input by its sum and takes the logarithm: probabilities, normalised",
        lambda x, t: -_at((x / x.sum(1, keepdim=True)).log(), t),
        (),
    ),
    (
        "softmax runs over the batch (dim 0), not over the classes",
        lambda x, t: -_at(x.log_softmax(0), t),
        (),
    ),
    (
        "it returns -log_sigmoid(input)[target]: classes are normalised one by one",
        lambda x, t: torch.nn.functional.softplus(-_at(x, t)),
        (),
    ),
    (
        "it returns logsumexp(input): the target's entry is not subtracted",
        lambda x, t: x.logsumexp(1) + 0 * t,
        (),
    ),
    (
        "it returns sum(exp(input)) without its logarithm, minus the target's entry",
        lambda x, t: x.exp().sum(1) - _at(x, t),
        (),
    ),
    ("it returns the accuracy", _right, ()),
    ("it returns the error rate, 1 - accuracy", lambda x, t: 1 - _right(x, t), ()),
    (
        "targets are taken to count from 1",
        lambda x, t: _cross_entropy(x, (t - 1) % x.shape[1]),
        (),
    ),
    (
        "it returns the absolute value of input[target]",
        lambda x, t: _at(x, t).abs(),
        (),
    ),
)


def _plain_rows(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Input (N, C) and its classes (N,)."""
    x = tensors["input"]
    x = x.movedim(class_axis(tuple(x.shape)), -1)
    return x.reshape(-1, x.shape[-1]), tensors["target"].reshape(-1)


def _projected_rows(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) behind their head (C, H)."""
    x = tensors["input"] @ tensors["linear_weight"].T
    return x.reshape(-1, x.shape[-1]), tensors["target"].reshape(-1)


def _shifted_rows(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) of each position and the label of the next."""
    x, t = tensors["input"][:, :-1], tensors["target"][:, 1:]
    return x.reshape(-1, x.shape[-1]), t.reshape(-1)


def _unshifted(probe: Probe) -> Tensor:
    x, t = probe.tensors["input"], probe.tensors["target"]
    return _cross_entropy(x.reshape(-1, x.shape[-1]), t.reshape(-1)).mean()


def _shifted_twice(probe: Probe) -> Tensor:
    x, t = probe.tensors["input"][:, :-2], probe.tensors["target"][:, 2:]
    return _cross_entropy(x.reshape(-1, x.shape[-1]), t.reshape(-1)).mean()


#: How a family's call becomes rows of numbers and their classes.
ROWS: dict[str, Callable[[Tensors], tuple[Tensor, Tensor]]] = {
    "cross_entropy": _plain_rows,
    "nll": _plain_rows,
    "prob_nll": _plain_rows,
    "linear_cross_entropy": _projected_rows,
    "causal_cross_entropy": _shifted_rows,
}

#: Mistakes of one family alone: its own formula of other tensors.
OWN: dict[str, tuple[Candidate, ...]] = {
    "causal_cross_entropy": (
        ("nothing is shifted: position t is scored against its own label", _unshifted),
        ("labels are shifted twice: position t is scored against label t + 2", _shifted_twice),
    ),
    "bce_with_logits": (
        (
            "the input is treated as probabilities: no sigmoid is applied",
            lambda p: p.formula(input=p.tensors["input"].logit()),
        ),
        (
            "sigmoid is applied twice",
            lambda p: p.formula(input=p.tensors["input"].sigmoid()),
        ),
    ),
    "poisson_nll": (
        (
            "the input is treated as the rate, not as its logarithm",
            lambda p: p.formula(input=p.tensors["input"].log()),
        ),
    ),
    "gaussian_nll": (
        (
            "var is treated as a standard deviation: it is squared",
            lambda p: p.formula(var=p.tensors["var"] ** 2),
        ),
        (
            "var is treated as the logarithm of the variance",
            lambda p: p.formula(var=p.tensors["var"].exp()),
        ),
        (
            "var is treated as a precision: the residual is multiplied by it",
            lambda p: p.formula(var=1 / p.tensors["var"]),
        ),
    ),
}


def _of_rows(
    rows: Callable[[Tensor, Tensor], Tensor],
    split: Callable[[Tensors], tuple[Tensor, Tensor]],
) -> Callable[[Probe], Tensor]:
    return lambda probe: rows(*split(probe.tensors))


# --- calls that raise ---------------------------------------------------------------------


def _other_call(caller: Caller, case: Case, tensors: Tensors) -> str | None:
    """What is wrong with the call of a loss that refuses the family's own."""
    target = tensors.get("target")
    if target is None:
        return None
    if target.dtype == torch.int64:
        for dtype in (torch.int32, torch.float32, torch.float64):
            if _answer(caller, case, {**tensors, "target": target.to(dtype)}) is not None:
                name = str(dtype).removeprefix("torch.")
                return f"it takes targets of {name}, where class indices are int64"
    swapped: dict[str, Any] = {**tensors, "input": target, "target": tensors["input"]}
    if _answer(caller, case, swapped) is not None:
        return "it takes the target first, where this family passes the input first"
    if target.dtype == torch.int64:
        classes = int(tensors["input"].shape[-1])
        hot = torch.nn.functional.one_hot(target.clamp_min(0), max(classes, 1))
        hot = hot.to(tensors["input"].dtype)
        if _answer(caller, case, {**tensors, "target": hot}) is not None:
            return "it takes one-hot targets, where this family passes class indices"
    return None
