"""Two ways to have rules judged: in supervised workers, or within this process.

A runner holds one target.  Whatever the target does to a worker, :meth:`run` returns a
result: a death costs one rule, and a fresh worker goes on with the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .errors import SuiteError, UsageError
from .isolation import ForkServer, Worker, WorkerLost, WorkerOutOfMemory, WorkerTimedOut
from .lines import revive
from .model import Outcome, Result

if TYPE_CHECKING:
    from .engine import Engine
    from .wish import Wish

#: Importing a target may take its time (a kernel library, a cold disk).
LOAD_S = 180.0
#: Rules that are told to run in a worker, preloaded in the fork server.
PRELOAD = ("torch", "hypothesis", "nll_conformance.preload")

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

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._engine = Engine(self._wish, lambda case: None, self._target)
        return self._engine.describe()

    @property
    def engine(self) -> Engine:
        """The loaded engine."""
        assert self._engine is not None
        return self._engine

    def smoke(self) -> Result | None:
        self.engine.smoke()
        return None

    def probe(self) -> Mapping[str, str]:
        return self.engine.probe()

    def assume(self, seen: Mapping[str, str]) -> None:
        self.engine.assume(seen)

    def run(self, job: Job, pinned: Sequence[Mapping[str, Any]]) -> Result:
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
        memory_limit_mb: int | None = None,
    ) -> None:
        self._server = server
        self._wish = wish
        self._timeout_s = timeout_s
        self._memory_limit_mb = memory_limit_mb
        self._worker: Worker | None = None
        self._seen: Mapping[str, str] = {}
        self._plan: Mapping[str, Any] = {}
        self._case: Mapping[str, Any] | None = None  # the last one announced

    def load(self) -> Mapping[str, Any]:
        try:
            self._plan = self._fresh()
        except WorkerLost as lost:
            raise UsageError(
                f"target {self._wish.target!r} took its process down while it was imported "
                f"({lost.reason}).{_last_words(lost)}"
            ) from None
        return self._plan

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
                return revive(self._ask(message, self._timeout_s))
            except WorkerLost as lost:
                if self._case is None and attempt == 1 and not isinstance(lost, WorkerTimedOut):
                    self._drop()  # it died of an earlier rule, between two: not of this one
                    continue
                return self._fatal(job, lost, time.monotonic() - start)
        raise AssertionError("unreachable")

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
        answer = self._ask({"op": "load", "wish": self._wish.to_json()}, LOAD_S)
        assert isinstance(answer, dict)
        return answer

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(self, message: Mapping[str, Any], timeout_s: float) -> Any:
        assert self._worker is not None
        self._case = None
        self._worker.send(message)
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._worker.receive(deadline=deadline)
            if "case" in answer:
                self._case = answer["case"]
            elif "answer" in answer:
                return answer["answer"]
            elif "usage" in answer:
                raise UsageError(answer["usage"])
            else:
                raise SuiteError(str(answer.get("error", answer)))

    def _fatal(self, job: Job, lost: WorkerLost, seconds: float = 0.0) -> Result:
        """The result of a rule that took its worker along."""
        case, rule = self._case, self._plan["rules"][job[0]]
        self._drop()
        outcome: Outcome = "timeout" if isinstance(lost, WorkerTimedOut) else "crash"
        what = "ran out of memory" if isinstance(lost, WorkerOutOfMemory) else "the process died"
        said = "no answer" if outcome == "timeout" else what
        reproducer = ""
        if case is not None:
            self._ready()
            reproducer = str(self._ask({"op": "reproducer", "case": case}, self._timeout_s))
        return Result(
            implementation=self._plan["described"]["name"],
            family=self._plan["described"]["family"],
            rule=job[0],
            revision=rule["revision"],
            level=rule["level"],
            dtype=job[1],
            device=job[2],
            outcome=outcome,
            cases=int(case is not None),
            seconds=round(seconds, 3),
            message=f"{said}: {lost.reason}.{_last_words(lost)}",
            counterexample=case,
            reproducer=reproducer,
            finding=f"{outcome}: {lost.reason}",
        )


def _last_words(lost: WorkerLost) -> str:
    tail = lost.tail.strip()
    return f" Its last words:\n{tail}" if tail else ""
