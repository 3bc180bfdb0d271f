"""A benchmark from targets to lines: load, verify, time in rounds, measure memory, say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from ..declare import Subject
from ..discover import family
from ..engine import Engine
from ..errors import UsageError
from ..targets import Lazily
from ..wish import Wish
from . import inputs, limits, memory, rounds
from .contestant import Clone, Contestant, Copy, Loss, Workplace, logits_of
from .lines import Key, Line, Pass
from .statistics import median
from .verify import Answer, Kind, Spot, verify


@dataclass(frozen=True)
class Options:
    """What is asked for; the names are those of the command line."""

    family: str | None = None
    shape: tuple[str, ...] = ()
    dtype: tuple[str, ...] = ("float32",)
    device: tuple[str, ...] = ("cpu",)
    passes: tuple[Pass, ...] = ("both",)
    rounds: int = 11
    seed: int = 0
    threads: int | None = None


class Listener(Protocol):
    """Told what is going on."""

    def doing(self, what: str, done: int, total: int) -> None:
        """A step begins: number ``done`` of ``total`` of the measurement at hand."""


@dataclass
class Bench:
    """The targets of a run, loaded; :meth:`run` measures and yields lines."""

    targets: Sequence[str]
    options: Options
    listener: Listener
    subjects: list[Subject] = field(default_factory=list)
    absent: list[tuple[str, str, str]] = field(default_factory=list)
    _unable: dict[tuple[str, str], UsageError] = field(default_factory=dict)
    interrupted: bool = False

    def load(self, *, eager_too: bool = True) -> None:
        """Resolve the targets and add PyTorch's own loss of each family; UsageError."""
        for target in self.targets:
            self._load(target)
        for name in self.families if eager_too else ():
            own = eager(name)
            if own is not None and all(s.function is not own for s in self.subjects):
                wish = Wish(str(family(name).eager), name)
                self.subjects.append(Engine(wish, lambda case: None).subject)
        for name in self.families:
            for shape in self.options.shape:
                inputs.parse_shape(shape, name)

    @property
    def families(self) -> tuple[str, ...]:
        """The families of what was loaded, in the order given."""
        return tuple(dict.fromkeys(s.implementation.family for s in self.subjects))

    def _load(self, target: str) -> None:
        from ..discover import registered

        try:
            engine = Engine(Wish(target, self.options.family), lambda case: None)
        except UsageError as error:
            if not isinstance(error.__cause__, ImportError) or target not in registered():
                raise
            self.absent.append((target, registered()[target].family, str(error.__cause__)))
            return
        name = engine.subject.implementation.name
        if name in (s.implementation.name for s in self.subjects):
            raise UsageError(f"two targets are called {name!r}; give each one once.")
        self._smoke(engine)
        self.subjects.append(engine.subject)

    def _smoke(self, engine: Engine) -> None:
        """Try the loss on each device; one that it cannot run on is told by its lines there."""
        declared = engine.subject.implementation.devices
        devices = [d for d in self.options.device if d in declared] or [declared[0]]
        name = engine.subject.implementation.name
        for device in devices:
            try:
                engine.smoke(device)
            except UsageError as error:
                self._unable[name, device] = error
        unable = [self._unable[name, d] for d in devices if (name, d) in self._unable]
        if len(unable) == len(devices):
            raise unable[0]

    # --- measuring -----------------------------------------------------------------------

    def keys(self, families: Sequence[str] = ()) -> list[Key]:
        """What is measured, one after the other, of all families or of these."""
        return [
            Key(name, dtype, device, shape, phase)
            for name in families or self.families
            for shape in self.options.shape or family(name).shapes
            for dtype in self.options.dtype
            for device in self.options.device
            for phase in self.options.passes
        ]

    def run(self) -> Iterator[Line]:
        """Every line, as soon as it is known; Ctrl-C ends with the rounds so far."""
        if self.options.threads is not None:
            torch.set_num_threads(self.options.threads)
        for target, name, why in self.absent:
            for key in self.keys():
                if key.family == name:
                    yield Line(target, key, "not_installed", message=why)
        for key in self.keys():
            try:
                yield from self._measure(key)
            except KeyboardInterrupt:
                self.interrupted = True
            if self.interrupted:
                return

    def _measure(self, key: Key) -> list[Line]:
        machine = limits.of_machine()
        entry = _Entry(key, self.options, self.listener)
        for subject in self.subjects:
            if subject.implementation.family == key.family:
                entry.admit(subject, self._unable.get((subject.implementation.name, key.device)))
        lines = entry.lines(machine + limits.of_threads(torch.get_num_threads()))
        self.interrupted = entry.interrupted
        return lines


class _Entry:
    """One key: its inputs, who takes part, and what came of it."""

    def __init__(self, key: Key, options: Options, listener: Listener) -> None:
        self.key = key
        self.interrupted = False
        self._options = options
        self._listener = listener
        self._steps = 2 + 3 * options.rounds  # a rough measure for the progress bar
        shape = inputs.parse_shape(key.shape, key.family)
        self._say("making inputs", 0)
        self._given = []
        for number in range(inputs.COUNT):
            case = inputs.case_at(shape, key.family, key.dtype, key.device, number)
            if key.phase == "forward":
                case = inputs.without_gradient(case)
            self._given.append(inputs.build(case))
        self._place = Workplace(self._given)
        logits = inputs.logits_shape(shape, key.family)
        self._logits = logits_of(self._place, logits)
        self.logits_bytes = self._logits.nbytes
        self._losses: list[Loss] = []
        self._refused: list[Line] = []
        self._answers: dict[str, list[Answer]] = {}

    def _say(self, what: str, done: int) -> None:
        key = self.key
        self._listener.doing(
            f"{key.family} {key.shape} {key.dtype} {key.phase}: {what}", done, self._steps
        )

    def admit(self, subject: Subject, unable: UsageError | None = None) -> None:
        """Let a loss take part, unless it declares, or has shown, that it cannot."""
        reason = str(unable) if unable else inputs.unsupported(subject, self._given[0].case)
        loss = Loss(subject, self._place, self.key.phase)
        if reason:
            self._refuse(loss, "unsupported", reason)
        else:
            self._losses.append(loss)

    def _refuse(self, loss: Loss, outcome: Any, message: str) -> None:
        self._losses = [other for other in self._losses if other is not loss]
        answers = self._answers.get(loss.name, [])
        line = Line(loss.name, self.key, outcome, loss.version, message)
        self._refused.append(_rated(line, answers))

    def lines(self, machine: tuple[str, ...]) -> list[Line]:
        """Verify, time, measure memory; one line for each contestant."""
        spots = [self._verify(number) for number in range(len(self._given))]
        if not self._losses:
            return self._refused
        contestants: list[Contestant] = [
            Copy(self._logits),
            Clone(self._logits),
            *self._losses,
        ]
        for reference in contestants[:2]:
            reference.ready(0)()
        options = self._options
        found = rounds.run(
            contestants,
            spots,
            options.rounds,
            self.key.device,
            options.seed,
            lambda n: self._say(f"round {n + 1} of {options.rounds}", 2 + 3 * n),
        )
        self.interrupted = found.interrupted
        for loss in list(self._losses):
            for failed, outcome in ((found.wrong, "wrong"), (found.raised, "error")):
                if loss.name in failed:
                    self._refuse(loss, outcome, failed[loss.name])
        kept = [c for c in contestants if found.samples.get(c.name)]
        return [*(self._line(c, found, machine) for c in kept), *self._refused]

    def _verify(self, number: int) -> dict[Kind, Spot]:
        """Every loss on one input; who is wrong or raises is out."""
        self._say(f"verifying on input {number + 1} of {len(self._given)}", number)
        answers: dict[Loss, Answer] = {}
        for loss in list(self._losses):
            try:
                answers[loss] = loss.answer(loss.ready(number)(), keep=True)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                self._refuse(loss, "error", rounds.describe(error))
        spots = verify(self._given[number], list(answers.values()))
        for loss, answer in answers.items():
            self._answers.setdefault(loss.name, []).append(answer)
            answer.grads = dict.fromkeys(answer.grads)  # their memory is wanted back
            if answer.wrong:
                self._refuse(loss, "wrong", answer.wrong)
        return spots

    def _line(
        self, contestant: Contestant, found: rounds.Measured, machine: tuple[str, ...]
    ) -> Line:
        samples = found.samples[contestant.name]
        took = median(found.times(contestant.name))
        copied = median(found.ratios(contestant.name, "copy"))
        line = Line(
            contestant.name,
            self.key,
            "timed",
            contestant.version,
            rounds=len(samples),
            time_ms=took.value,
            time_ms_low=took.low,
            time_ms_high=took.high,
            copy_time_ms=median(found.times("copy")).value,
            ratio_to_copy=copied.value,
            ratio_to_copy_low=copied.low,
            ratio_to_copy_high=copied.high,
            gb_per_s=self._speed(contestant, took.value),
            limits=(*machine, *limits.of_samples(samples, took, self.logits_bytes)),
        )
        line = self._with_torch(line, found)
        if isinstance(contestant, Loss):
            line = _rated(line, self._answers[contestant.name])
        return line if self.interrupted else self._with_memory(line, contestant)

    def _speed(self, contestant: Contestant, time_ms: float) -> float | None:
        """Logits read once and, but for a forward pass, written once, per second."""
        if isinstance(contestant, Loss) and "H" in family(self.key.family).axes.split("x"):
            return None  # which need not touch the logits at all
        forward = isinstance(contestant, Loss) and self.key.phase == "forward"
        return (1 if forward else 2) * self.logits_bytes / time_ms * 1e-6

    def _with_torch(self, line: Line, found: rounds.Measured) -> Line:
        own = eager(self.key.family)
        name = next((c.name for c in self._losses if c.subject.function is own), None)
        if name is None or not found.samples.get(name):
            return line
        ratio = median(found.ratios(line.implementation, name))
        return replace(
            line,
            ratio_to_torch=ratio.value,
            ratio_to_torch_low=ratio.low,
            ratio_to_torch_high=ratio.high,
        )

    def _with_memory(self, line: Line, contestant: Contestant) -> Line:
        self._say(f"memory of {contestant.name}", self._steps)
        added = memory.added_bytes(lambda: contestant.ready(0), self.key.device)
        if added is None:
            limit = "peak memory not measured: it takes Linux and a writable /proc/self/clear_refs"
            return replace(line, limits=(*line.limits, limit))
        return replace(line, added_bytes=added, added_bytes_ratio=added / self.logits_bytes)


def eager(family_name: str) -> Callable[..., Any] | None:
    """PyTorch's own function of the family; None where it, or this version, has none."""
    where = family(family_name).eager
    try:
        return None if where is None else Lazily(where)()
    except AttributeError:
        return None


def _rated(line: Line, answers: Sequence[Answer]) -> Line:
    """The line with the errors that verification saw, and with what it could not judge."""
    if not answers:
        return line
    facts: dict[str, Any] = {}
    for name in ("error_over_bound", "error_units"):
        known = [x for a in answers if (x := getattr(a, name)) is not None]
        facts[name] = max(known, default=None)
    untold = answers[0].untold()
    if untold and line.outcome == "timed":
        facts["limits"] = (*line.limits, f"not verified, for want of a bound: {', '.join(untold)}")
    return replace(line, **facts)
