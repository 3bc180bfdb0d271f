"""One rule, one dtype, one device: draw cases, judge them, shrink the first failure."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import torch

from . import gpu, shared, state
from .cases import MAX_ELEMENTS, Context
from .declare import Subject
from .discover import family
from .errors import TargetRaised
from .family import OPTIONAL
from .foreign import came_from_outside, described, name_of, users_own
from .model import Case, Finding, Measured, Outcome, Profile, Result, Rule
from .observe import Caller
from .search import smallest, start_for

#: Cases of a rule with share 1, sized on eager torch on one core.
CASES: dict[Profile, int] = {"quick": 10, "standard": 50, "thorough": 300}

#: Within one process nothing follows upon a fault of the GPU.
GPU_LOST = (
    "an earlier call ended this process's use of the GPU; in workers (without --no-isolation) "
    "a fresh one goes on"
)
#: Writes a failing case down as a program of its own.
_clock = time.perf_counter  # the loss may replace it
Reproduce: TypeAlias = Callable[[Case, Finding], str]


def no_reproducer(case: Case, finding: Finding) -> str:
    """For callers that only want the verdict."""
    return ""


def no_announcement(case: Case) -> None:
    """For callers that have nobody to tell which case comes next."""


@dataclass(frozen=True)
class Mode:
    """How cases are drawn, and how many."""

    profile: Profile = "standard"
    seed: int = 0
    database: Path | None = None
    verdicts_only: bool = False


@dataclass
class Tally:
    """What the cases of one rule amounted to."""

    cases: int = 0
    judged: int = 0
    discriminating: int = 0
    error_over_bound: float | None = None
    error_units: float | None = None
    unsupported: str = ""
    failure: tuple[Case, Finding] | None = None
    failures: dict[Case, Finding] = field(default_factory=dict)

    def add(self, measured: Iterable[Measured]) -> None:
        """Count one case."""
        seen = list(measured)
        self.cases += 1
        self.judged += any(m.judged for m in seen)
        self.discriminating += any(m.discriminating and m.judged for m in seen)
        for m in seen:
            self.error_over_bound = _largest(self.error_over_bound, m.error_over_bound)
            self.error_units = _largest(self.error_units, m.error_units)


def _largest(a: float | None, b: float | None) -> float | None:
    known = [x for x in (a, b) if x is not None]
    return max(known) if known else None


def context_for(
    subject: Subject, rule: str, dtype: str, device: str, profile: Profile = "standard"
) -> Context:
    """What cases of a rule may use with this subject."""
    declared = subject.implementation
    return Context(
        family=family(declared.family),
        rule=rule,
        dtype=dtype,
        device=device,
        capabilities=subject.capabilities,
        profile=profile,
        max_elements=min(declared.max_elements or MAX_ELEMENTS, MAX_ELEMENTS),
        max_rows=declared.max_rows,
        fixed=subject.fixed,
        mutates=declared.mutates,
    )


def missing(subject: Subject, rule: Rule) -> str:
    """Why the rule cannot be asked of this subject; empty if it can."""
    family_name = subject.implementation.family
    return "; ".join(
        subject.absent.get(need, f"family {family_name} has no {need}")
        for need in rule.needs
        if need not in subject.capabilities
    )


def judge_case(rule: Rule, case: Case, caller: Caller, tally: Tally) -> Finding | None:
    """Judge one case; the first finding, if any.  Counts into ``tally``."""
    measured: list[Measured] = []
    finding: Finding | None = None
    caller.called.clear()
    caller.changed.clear()
    try:
        for item in rule.judge(case, caller):
            if isinstance(item, Measured):
                measured.append(item)
            else:
                finding = item
                break
    except BaseException as error:  # noqa: BLE001 - foreign code may raise anything
        raised = _blamed(error)
        if _optional(caller.subject, rule) or _refused_by_torch(raised.error):
            tally.unsupported = described(raised.error)
            return None
        finding = raised_finding(raised)
    tally.add(measured or [Measured()])
    return replace(finding, calls=tuple(caller.called)) if finding else None


def _blamed(error: BaseException) -> TargetRaised:
    """What the loss raised, also where no rule expected it; a fault of the suite stays one."""
    if isinstance(error, TargetRaised):
        return error
    if users_own(error) or not came_from_outside(error):
        raise error
    return TargetRaised(error, "the call")


def raised_finding(raised: TargetRaised) -> Finding:
    """The finding for a valid call that raised."""
    return Finding(
        f"{raised.during} raised {described(raised.error)}",
        got=name_of(raised.error),
        want="no exception",
        kind="raised",
    )


def _optional(subject: Subject, rule: Rule) -> bool:
    """Whether the rule concerns something the subject need not support."""
    return any(
        need in OPTIONAL and need not in subject.implementation.promises for need in rule.needs
    )


def _refused_by_torch(error: BaseException) -> bool:
    """Whether PyTorch refuses what nobody can do who uses a part of it.

    A compiled loss cannot keep its graph, nor a reentrant checkpoint answer autograd.grad.
    """
    refusals = ("non-empty donated buffers", "checkpoint is incompatible with .grad()")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in refusals)


def run_rule(
    subject: Subject,
    rule: Rule,
    dtype: str,
    device: str,
    *,
    mode: Mode,
    announce: Callable[[Case], None] = no_announcement,
    pinned: Iterable[Case] = (),
    reproduce: Reproduce = no_reproducer,
) -> Result:
    """The result of one rule for one dtype and device.

    ``pinned`` cases (of expected failures) run before any drawn one.  A bug of the suite
    becomes the outcome ``error`` with its traceback as message.
    """
    start = _clock()
    reason = missing(subject, rule)
    if reason:
        return _result(subject, rule, dtype, device, Tally(), "unsupported", reason)
    if device == "cuda" and gpu.lost():
        return _result(subject, rule, dtype, device, Tally(), "inconclusive", GPU_LOST)
    tally = Tally()
    with state.kept():
        try:
            outcome, message = _search(
                subject, rule, dtype, device, mode, announce, tuple(pinned), tally
            )
        except torch.OutOfMemoryError as error:  # of the suite's own tensors, or of others' doing
            outcome, message = "inconclusive", f"the GPU has too little memory: {error}"
        except Exception:  # noqa: BLE001 - a bug of a rule must not end the run
            outcome, message = "error", traceback.format_exc(limit=-6)
    gpu.release()
    seconds = round(_clock() - start, 4)
    return _result(subject, rule, dtype, device, tally, outcome, message, seconds, reproduce)


def _search(
    subject: Subject,
    rule: Rule,
    dtype: str,
    device: str,
    mode: Mode,
    announce: Callable[[Case], None],
    pinned: tuple[Case, ...],
    tally: Tally,
) -> tuple[Outcome, str]:
    context = context_for(subject, rule.id, dtype, device, mode.profile)
    caller = Caller(subject, announce)

    def fails(case: Case) -> bool:
        if caller.gpu_lost:  # what was seen until then stands
            return case in tally.failures
        finding = judge_case(rule, case, caller, tally)
        if finding is not None:
            tally.failures[case] = finding
        return finding is not None

    found = next((case for case in pinned if fails(case)), None)
    if found is None and mode.verdicts_only:
        found = _first(context, rule, mode, fails)
    elif found is None:
        found = smallest(
            rule.cases(context),
            fails,
            start=start_for(mode.seed, rule.id, rule.revision, dtype),
            cases=_count(rule, mode),
            database=mode.database,
            key=f"{subject.implementation.name}/{rule.id}/{dtype}/{device}",
        )
    if found is not None:
        tally.failure = (found, tally.failures[found])
        return "fail", tally.failures[found].message
    if tally.unsupported:
        return "unsupported", tally.unsupported
    if tally.discriminating == 0:
        return "inconclusive", (
            f"in none of {tally.cases} cases would a wrong answer have been outside the bound"
        )
    return "pass", ""


def _count(rule: Rule, mode: Mode) -> int:
    return rule.count or max(3, round(CASES[mode.profile] * rule.share))


def _first(context: Context, rule: Rule, mode: Mode, fails: Callable[[Case], bool]) -> Case | None:
    """The first failing case as it was drawn; cases are drawn once for losses that are alike."""
    start, count = start_for(mode.seed, rule.id, rule.revision, context.dtype), _count(rule, mode)
    known = shared.drawn.setdefault((context.key, start, count), [])
    for asked, cases in known:
        if asked.alike(context.capabilities):
            return next((case for case in cases if fails(case)), None)
    asked, cases = shared.Asked(context.capabilities), []

    def noted(case: Case) -> bool:
        cases.append(case)
        return fails(case)

    strategy = rule.cases(replace(context, capabilities=asked))
    found = smallest(strategy, noted, start=start, cases=count, shrink=False)
    if found is None:
        known.append((asked, cases))
    return found


def replay_case(
    subject: Subject,
    rule: Rule,
    case: Case,
    announce: Callable[[Case], None],
    reproduce: Reproduce = no_reproducer,
) -> Result:
    """Judge one recorded case again."""
    tally = Tally()
    finding = judge_case(rule, case, Caller(subject, announce), tally)
    outcome: Outcome = "unsupported" if tally.unsupported else "pass"
    if finding is not None:
        tally.failure = (case, finding)
        outcome = "fail"
    message = finding.message if finding else tally.unsupported
    return _result(subject, rule, case.dtype, case.device, tally, outcome, message, 0.0, reproduce)


def _result(
    subject: Subject,
    rule: Rule,
    dtype: str,
    device: str,
    tally: Tally,
    outcome: Outcome,
    message: str,
    seconds: float = 0.0,
    reproduce: Reproduce = no_reproducer,
) -> Result:
    case, finding = tally.failure or (None, None)
    return Result(
        implementation=subject.implementation.name,
        family=subject.implementation.family,
        rule=rule.id,
        revision=rule.revision,
        level=rule.level,
        dtype=dtype,
        device=device,
        outcome=outcome,
        cases=tally.cases,
        judged=tally.judged,
        discriminating=tally.discriminating,
        seconds=seconds,
        error_over_bound=tally.error_over_bound,
        error_units=tally.error_units,
        message=message[:4000],
        counterexample=case.to_json() if case else None,
        reproducer=reproduce(case, finding) if case and finding else "",
        finding=finding.kind if finding else "",
        reason=message[:300] if outcome in ("unsupported", "inconclusive") else "",
    )
