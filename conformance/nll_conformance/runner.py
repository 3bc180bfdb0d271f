"""Two ways to have rules judged: in supervised workers, or within this process.

A runner holds one target.  Whatever the target does to a worker, :meth:`run` returns a
result: a death costs one rule, and a fresh worker goes on with the next.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from .errors import SuiteError, UsageError
from .foreign import interrupts_watched
from .isolation import (
    ForkServer,
    Worker,
    WorkerDied,
    WorkerLost,
    WorkerOutOfMemory,
    WorkerTimedOut,
    half_of_memory_mb,
)
from .lines import revive
from .model import Outcome, Result

if TYPE_CHECKING:
    from .engine import Engine
    from .wish import Wish

#: Importing a target may take its time (a kernel library, a cold disk).
LOAD_S = 180.0
#: Rules that are told to run in a worker, preloaded in the fork server.
PRELOAD = ("torch", "hypothesis", "nll_conformance.preload")
#: The same, with all mutants and variants.
PRELOAD_TRIAL = (*PRELOAD, "nll_conformance.preload_trial")

#: So many failures are tried again in a fresh process before the others are believed.
CONFIRMED = 3
#: Characters of a dead worker's output that a result shows.
_LAST_WORDS = 1500

Job = tuple[str, str, str]


class Runner(Protocol):
    """What a session needs of either way."""

    def load(self) -> Mapping[str, Any]:
        """Load the target and plan; raises UsageError."""
        ...

    def smoke(self) -> Result | None:
        """Raises UsageError where the call cannot be made; a result where that was fatal."""
        ...

    def probe(self) -> Mapping[str, str]:
        """Undeclared divergences as they were seen."""
        ...

    def assume(self, seen: Mapping[str, str]) -> None:
        """Take over what another runner's probe saw."""
        ...

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
        """The result of one rule, dtype and device."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class LocalRunner:
    """Within this process: no protection, no deadline."""

    def __init__(self, wish: Wish, target: Any | None = None) -> None:
        self._wish = wish
        self._target = target
        self._engine: Engine | None = None

    def load(self) -> Mapping[str, Any]:
        import torch

        from .engine import Engine
        from .run import no_announcement

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with interrupts_watched():
            self._engine = Engine(self._wish, no_announcement, self._target)
        return self._engine.describe()

    @property
    def engine(self) -> Engine:
        """The loaded engine."""
        assert self._engine is not None
        return self._engine

    def smoke(self) -> Result | None:
        with interrupts_watched():
            self.engine.smoke()
        return None

    def probe(self) -> Mapping[str, str]:
        with interrupts_watched():
            return self.engine.probe()

    def assume(self, seen: Mapping[str, str]) -> None:
        self.engine.assume(seen)

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
        from .originals import picture

        picture().note()  # others may replace functions between two rules, and mean it
        with interrupts_watched():
            return self.engine.run(*job, pinned)

    def replay(self, case: Mapping[str, Any]) -> Result:
        """Judge one recorded case again."""
        from .model import Case

        return self.engine.replay(Case.from_json(case))

    def close(self) -> None:
        if self._engine is not None:
            import torch

            torch.set_num_threads(self._threads)


class IsolatedRunner:
    """In a worker of a fork server, replaced after each death."""

    def __init__(
        self,
        server: ForkServer,
        wish: Wish,
        *,
        timeout_s: float,
        load_timeout_s: float = LOAD_S,
        memory_limit_mb: int | None = None,
    ) -> None:
        self._server = server
        self._wish = wish
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._patience: dict[str, float] = {}
        self._memory_limit_mb = memory_limit_mb or half_of_memory_mb()
        self._worker: Worker | None = None
        self._seen: Mapping[str, str] = {}
        self._plan: Mapping[str, Any] = {}
        self._case: Mapping[str, Any] | None = None  # the last one announced
        self._confirmed = 0  # failures that a fresh process showed, too

    def load(self) -> Mapping[str, Any]:
        try:
            self._plan = self._loaded() if self._worker is not None else self._fresh()
        except WorkerLost as lost:
            self._drop()
            raise UsageError(
                f"target {self._wish.target!r} took its process down while it was imported "
                f"({lost.reason}).{_last_words(lost)}"
            ) from None
        return self._plan

    def turn_to(self, wish: Wish) -> Mapping[str, Any]:
        """Load another target in the same worker, which keeps what it knows of cases."""
        self._wish, self._seen, self._confirmed = wish, {}, 0
        return self.load()

    def join(self, plan: Mapping[str, Any], seen: Mapping[str, str]) -> None:
        """Take over what another runner of the same target found out; nothing is loaded yet."""
        self._plan, self._seen = plan, seen

    @property
    def family(self) -> str:
        """The family of the loaded target."""
        return str(self._plan["described"]["family"])

    def smoke(self) -> Result | None:
        try:
            self._ask({"op": "smoke"}, self._timeout_s)
        except WorkerLost as lost:
            dtype, device = self._plan["jobs"][0][1:] if self._plan["jobs"] else ("", "")
            return self._fatal(("call.simplest", dtype, device), lost)
        return None

    def probe(self) -> Mapping[str, str]:
        try:
            self._seen = self._ask({"op": "probe"}, self._timeout_s)
        except WorkerLost:
            self._drop()  # the rule that asks for it will say what happens there
        return self._seen

    def assume(self, seen: Mapping[str, str]) -> None:
        self._seen = seen
        self._ask({"op": "assume", "seen": dict(seen)}, self._timeout_s)

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
        rule, dtype, device = job
        message = {
            "op": "run",
            "rule": rule,
            "dtype": dtype,
            "device": device,
            "pinned": list(pinned),
        }
        start = time.monotonic()
        for attempt in (1, 2):
            try:
                self._ready()
                limit_s = self._patience.get(rule, 1.0) * self._timeout_s
                return self._alone(revive(self._ask(message, limit_s)))
            except WorkerLost as lost:
                if self._case is None and attempt == 1 and not isinstance(lost, WorkerTimedOut):
                    self._drop()  # it died of an earlier rule, between two: not of this one
                    continue
                return self._fatal(job, lost, time.monotonic() - start)
            except UsageError as error:  # the target could be loaded once, and now it cannot
                return self._result(job, "crash", f"loaded again: {error}")
            except _WorkerError as error:
                return self._result(job, "error", str(error))
        raise AssertionError("unreachable")

    def _alone(self, result: Result) -> Result:
        """A failure that its case alone does not cause, in a process of its own, says so.

        Its reproducer will not show it.  After a few that were confirmed the loss counts as
        one that fails by itself.
        """
        case, enough = result.counterexample, self._confirmed >= CONFIRMED
        if result.outcome != "fail" or case is None or enough or self._wish.verdicts_only:
            return result
        fresh = IsolatedRunner(
            self._server,
            self._wish,
            timeout_s=self._timeout_s,
            load_timeout_s=self._load_timeout_s,
            memory_limit_mb=self._memory_limit_mb,
        )
        fresh.join(self._plan, self._seen)
        try:
            again = fresh.replay(case)
        except (UsageError, SuiteError):
            return result
        finally:
            fresh.close()
        if again.outcome != "pass":
            self._confirmed += 1
            return result
        why = "in a fresh process this case alone passes: earlier calls, or chance, decide"
        return replace(result, message=f"{result.message}; {why}")

    def replay(self, case: Mapping[str, Any]) -> Result:
        """Judge one recorded case again."""
        try:
            self._ready()
            return revive(self._ask({"op": "replay", "case": case}, self._timeout_s))
        except WorkerLost as lost:
            return self._fatal((case["rule"], case["dtype"], case["device"]), lost)

    def close(self) -> None:
        self._drop()

    def kill(self) -> None:
        """End whatever runs, from any thread."""
        if self._worker is not None:
            self._worker.kill()

    def _ready(self) -> None:
        if self._worker is None:
            self._fresh()
            if self._seen:
                self.assume(self._seen)

    def _fresh(self) -> Mapping[str, Any]:
        self._drop()
        self._worker = self._server.worker(memory_limit_mb=self._memory_limit_mb)
        return self._loaded()

    def _loaded(self) -> Mapping[str, Any]:
        """Have the worker load the target."""
        answer = self._ask({"op": "load", "wish": self._wish.to_json()}, self._load_timeout_s)
        assert isinstance(answer, dict)
        self._patience = {rule: facts["patience"] for rule, facts in answer["rules"].items()}
        return answer

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> Any:
        if self._worker is None:
            raise WorkerDied("lost its GPU", "")
        self._case = None
        token = secrets.token_hex(8)
        self._worker.send({**message, "token": token})
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._worker.receive(deadline=deadline)
            if answer.get("token") != token:
                self._worker.distrust("wrote to the channel of the suite")
            elif "case" in answer:
                self._case = answer["case"]
                continue
            if answer.get("spent"):
                self._drop()
            if "answer" in answer:
                return answer["answer"]
            if "usage" in answer:
                raise UsageError(answer["usage"])
            raise _WorkerError(str(answer.get("error", answer)))

    def _fatal(self, job: Job, lost: WorkerLost, seconds: float = 0.0) -> Result:
        """The result of a rule that took its worker along."""
        case = self._case
        self._drop()
        outcome: Outcome = "timeout" if isinstance(lost, WorkerTimedOut) else "crash"
        what = "ran out of memory" if isinstance(lost, WorkerOutOfMemory) else "the process died"
        said = "no answer" if outcome == "timeout" else what
        result = self._result(job, outcome, f"{said}: {lost.reason}.{_last_words(lost)}")
        return replace(
            result,
            cases=int(case is not None),
            seconds=round(seconds, 3),
            counterexample=case,
            reproducer=self._reproducer(case) if case is not None else "",
            finding=f"{outcome}: {lost.reason}",
        )

    def _reproducer(self, case: Mapping[str, Any]) -> str:
        """Written by a fresh worker; without one where the target cannot be loaded again."""
        try:
            self._ready()
            return str(self._ask({"op": "reproducer", "case": case}, self._timeout_s))
        except (WorkerLost, UsageError, _WorkerError):
            self._drop()
            return ""

    def _result(self, job: Job, outcome: Outcome, message: str) -> Result:
        """A result that no worker gave."""
        rule = self._plan["rules"][job[0]]
        return Result(
            implementation=self._plan["described"]["name"],
            family=self._plan["described"]["family"],
            rule=job[0],
            revision=rule["revision"],
            level=rule["level"],
            dtype=job[1],
            device=job[2],
            outcome=outcome,
            message=message,
        )


class _WorkerError(SuiteError):
    """The suite itself failed in a worker, which told so."""


def _last_words(lost: WorkerLost) -> str:
    """The end of what it printed, from the beginning of a line on."""
    tail = lost.tail.strip()
    if len(tail) > _LAST_WORDS:
        tail = tail[-_LAST_WORDS:].partition("\n")[2] or tail[-_LAST_WORDS:]
    return f" Its last words:\n{tail}" if tail else ""
