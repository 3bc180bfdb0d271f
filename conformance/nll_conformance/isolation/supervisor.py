"""Start the fork server, get workers from it, and leave no trace of either."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from ..errors import SuiteError
from .channel import Channel, ChannelClosed, ChannelTimeout
from .handle import Worker
from .lost import WorkerDied, WorkerLost, WorkerOutOfMemory, WorkerTimedOut, reason
from .output import Output
from .processes import kill_session

__all__ = [
    "ForkServer",
    "Worker",
    "WorkerDied",
    "WorkerLost",
    "WorkerOutOfMemory",
    "WorkerTimedOut",
]

# sys.path comes first, by itself: a json.py beside the user's script must not be imported.
_START: Final = (
    "import sys; sys.path[:] = sys.argv[2:];"
    " from nll_conformance.isolation.server import main; main(int(sys.argv[1]))"
)
#: torch from a cold network disk takes its time; everything else is a matter of ms.
_START_S: Final = 300.0
_ANSWER_S: Final = 60.0
_END_S: Final = 10.0


class ForkServer:
    """Gives out workers that run ``entry(channel)``; a context manager, for any thread.

    ``entry`` is ``"package.module:function"``, imported in the server together with
    ``preload`` while the supervisor goes on with its own work.  ``environment`` is added to
    the supervisor's own.  ``method="spawn"`` makes each worker a fresh interpreter (2 s
    instead of 0.02 s), for platforms whose native libraries do not survive a fork.
    """

    def __init__(
        self,
        *,
        entry: str = "nll_conformance.worker:serve",
        preload: Sequence[str] = ("torch", "hypothesis"),
        environment: Mapping[str, str] | None = None,
        method: Literal["fork", "spawn"] = "fork",
    ) -> None:
        if not hasattr(os, "fork"):
            raise SuiteError("workers need a POSIX system; --no-isolation does without")
        self._wanted = {"entry": entry, "preload": list(preload), "method": method}
        self._environment = dict(environment or {})
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: dict[int, Worker] = {}
        self._ready = False
        self._requests = 0
        self._broken: str | None = None  # why it is of no use any more
        self._closed = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and return at once; ``worker`` does it too if need be."""
        with self._lock:
            if self._closed:
                raise SuiteError("the fork server is closed")
            if self._process is None:
                self._launch()

    def worker(self, *, memory_limit_mb: int | None = None) -> Worker:
        """A new worker; waits for the server's imports the first time.

        Raises ``SuiteError`` if the server cannot import what it should, or is gone.
        """
        self.start()
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            pid = self.request({"op": "fork"}, (theirs.fileno(), writing))["pid"]
            worker = Worker(pid, ours, reading, self, memory_limit_mb)
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(writing)
        with self._lock:
            self._workers[pid] = worker
        return worker

    def close(self) -> None:
        """End all workers and the server; afterwards there is no process, thread or file."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            if process is None:
                return
            self._control.close()  # the server's signal to kill everybody and leave
            self._output.close()
            status = _wait(process)
            workers, self._workers = self._workers, {}
        for worker in workers.values():
            if status != 0:  # the server could not do it
                kill_session(worker.pid)
            worker.close()

    def request(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """One request to the server and its answer, one thread at a time."""
        with self._lock:
            if self._process is None:
                raise SuiteError("the fork server is closed")
            if self._broken is not None:
                raise SuiteError(self._broken)
            if not self._ready:
                answer = self._answer(0, _START_S)
                if "error" in answer:
                    self._broken = f"the fork server cannot start: {answer['error']}"
                    raise SuiteError(self._broken)
                self._ready = True
            self._requests += 1
            self._control.put({"id": self._requests, **message})
            self._control.flush(fds)
            return self._answer(self._requests, _ANSWER_S)

    def forget(self, pid: int) -> None:
        """Called by a worker that was closed."""
        with self._lock:
            self._workers.pop(pid, None)

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        self._control = Channel(ours)
        self._output = Output(reading)
        path = [place or str(Path.cwd()) for place in sys.path]
        with theirs, os.fdopen(writing, "wb") as output:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(theirs.fileno()), *path],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **self._environment},
                    # Neither Ctrl-C nor the end of the supervisor's process group reach it,
                    # so that it is always there to clear up.
                    start_new_session=True,
                )
            except OSError as error:
                self._control.close()
                self._output.close()
                raise SuiteError(f"the fork server cannot start: {error}") from error
        self._control.send({"id": 0, "op": "start", **self._wanted})

    def _answer(self, request: int, timeout_s: float) -> dict[str, Any]:
        give_up = time.monotonic() + timeout_s
        while True:
            self._output.drain()  # imports may print; a full pipe would stop them
            try:
                answer = self._control.receive(min(1.0, timeout_s))
                if answer["id"] == request:  # else of one that Ctrl-C cut short
                    return answer
            except ChannelTimeout:
                if time.monotonic() >= give_up:
                    raise self._gone(f"does not answer within {timeout_s:g} s") from None
            except ChannelClosed:
                assert self._process is not None
                raise self._gone(f"died ({reason(_wait(self._process))})") from None

    def _gone(self, how: str) -> SuiteError:
        self._output.drain(chunks=16)
        tail = self._output.text().strip()
        self._broken = f"the fork server {how}" + (f": {tail}" if tail else "")
        return SuiteError(self._broken)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a server that should be leaving; killed if it does not."""
    try:
        return process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
