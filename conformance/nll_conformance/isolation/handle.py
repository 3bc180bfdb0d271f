"""The supervisor's hold on one worker: ask, wait, and find out what became of it."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, NoReturn, Protocol, Self

from ..errors import SuiteError
from .channel import Channel, ChannelClosed, ChannelGarbled
from .lost import WorkerDied, WorkerLost, WorkerOutOfMemory, WorkerTimedOut, reason
from .output import Output

#: How often a waiting supervisor looks whether the worker lives and how large it is.
LOOK_EVERY_S: Final = 0.05
_DYING_S: Final = 1.0  # a worker that closed its channel is probably ending
#: An orderly leave-taking may take this long, the end of a killed worker that long.
_LEAVING_S: Final = 0.5
_KILL_S: Final = 10.0
_KILLED: Final = "killed by the supervisor"


class Requests(Protocol):
    """What a worker's handle asks of the fork server."""

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer; ``SuiteError`` if the server is gone."""

    def forget(self, pid: int) -> None:
        """The worker is closed; its number may be another process's soon."""


class Worker:
    """One worker process.  For one thread at a time; ``kill`` may come from any thread."""

    def __init__(
        self,
        pid: int,
        end: socket.socket,
        output_fd: int,
        server: Requests,
        memory_limit_mb: int | None,
    ) -> None:
        self.pid: Final = pid
        self._channel = Channel(end)
        self._output = Output(output_fd)
        self._server = server
        self._memory_limit_mb = memory_limit_mb
        self._lock = threading.RLock()
        self._loss: tuple[type[WorkerLost], str] | None = None
        self._killed = False
        self._asked = time.monotonic()
        self._next_look = self._asked + LOOK_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; never waits: what does not fit goes out while ``receive`` waits.

        It says nothing of a worker that is gone; the ``receive`` that follows does.
        """
        with self._lock:
            self._asked = time.monotonic()
            self._channel.put(message)
            if self._loss is None:
                self._channel.flush()

    def receive(self, *, deadline: float | None) -> dict[str, Any]:
        """The next message; raises ``WorkerLost`` once the worker is lost, killed, reaped.

        ``deadline`` is a time of ``time.monotonic()``.  Messages that the worker sent before
        it died come first, so that its last announcement is known.
        """
        with self._lock:
            expired = False
            while (message := self._take()) is None:
                if self._loss is not None:
                    kind, why = self._loss
                    raise kind(why, self.output_tail())
                if expired and deadline is not None:
                    why = f"no answer within {round(max(0.0, deadline - self._asked), 1):g} s"
                    self._lose(WorkerTimedOut, why, read_on=False)
                    continue
                now = time.monotonic()
                if now >= self._next_look:
                    self._look()
                    continue
                expired = deadline is not None and now >= deadline
                until = self._next_look if deadline is None else min(self._next_look, deadline)
                self._step(until - now)
            return message

    def output_tail(self) -> str:
        """The end of what the worker printed, at most 4096 characters, safe to show."""
        with self._lock:
            if self._loss is None:
                self._output.drain(chunks=16)
            return self._output.text()

    def distrust(self, why: str) -> NoReturn:
        """Lose a worker that sent what only a target can have written."""
        with self._lock:
            self._lose(WorkerDied, why, read_on=False)
            raise WorkerDied(why, self.output_tail())

    def kill(self) -> None:
        """Kill the worker and all that it started; a ``receive`` under way raises."""
        self._killed = True
        try:
            self._end()
            with self._lock:
                self._lose(WorkerDied, _KILLED, read_on=False)
        except SuiteError:  # the server is gone, and its workers with it
            pass

    def close(self) -> None:
        """Ask the worker to leave, wait shortly, then kill whatever is left of it."""
        with self._lock:
            if self._loss is None:
                self._channel.finish()
                try:
                    self._await_exit(_LEAVING_S)
                    self._lose(WorkerDied, "closed by the supervisor", read_on=False)
                except SuiteError:
                    self._loss = (WorkerDied, "the fork server is gone")
            self._channel.close()
            self._output.close()
        self._server.forget(self.pid)

    def _take(self) -> dict[str, Any] | None:
        try:
            return self._channel.take()
        except ChannelClosed as closed:
            if self._loss is None:
                if isinstance(closed, ChannelGarbled):
                    why = f"sent {closed}"
                else:
                    why = reason(self._await_exit(_DYING_S))
                self._lose(WorkerDied, why, read_on=False)
            return None

    def _step(self, timeout_s: float) -> None:
        """Wait for the channel or the output, and move along what can be moved."""
        poll = select.poll()
        unsent = not self._channel.flush()
        poll.register(self._channel, select.POLLIN | (select.POLLOUT if unsent else 0))
        if not self._output.ended:
            poll.register(self._output, select.POLLIN)
        for fd, _ in poll.poll(max(0.0, timeout_s) * 1000):
            if fd == self._channel.fileno():
                self._channel.fill()
            else:
                self._output.drain()

    def _look(self) -> None:
        """See whether it lives, for a child may hold its channel open, and how large it is."""
        self._next_look = time.monotonic() + LOOK_EVERY_S
        limit = self._memory_limit_mb
        seen = self._ask("look", memory=limit is not None)
        if seen["status"] is not None:
            self._lose(WorkerDied, reason(seen["status"]))
        elif limit is not None and (seen["resident_bytes"] or 0) > limit * 2**20:
            self._lose(WorkerOutOfMemory, f"resident memory above {limit} MB")

    def _await_exit(self, seconds: float) -> int | None:
        """Its exit status if it ends by itself within ``seconds``, else None."""
        give_up = time.monotonic() + seconds
        pause = 0.0005
        while True:
            seen = self._ask("look", memory=False)
            if seen["status"] is not None or time.monotonic() >= give_up:
                status: int | None = seen["status"]
                return status
            self._output.drain(chunks=16)  # it may be waiting to print its last words
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _lose(self, kind: type[WorkerLost], why: str, *, read_on: bool = True) -> None:
        """Kill, reap and remember; what the dead had sent is read if it still counts."""
        if self._loss is None:
            self._loss = (WorkerDied, _KILLED) if self._killed else (kind, why)
            self._end()
            self._output.drain(chunks=16)
            while read_on and self._channel.fill():
                pass

    def _end(self) -> None:
        give_up = time.monotonic() + _KILL_S
        pause = 0.0005
        while True:
            seen = self._ask("reap")
            if (seen["status"] is not None and not seen["left"]) or time.monotonic() >= give_up:
                return  # what the kernel cannot kill, the suite cannot either
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _ask(self, op: str, **more: object) -> dict[str, Any]:
        return self._server.request({"op": op, "pid": self.pid, **more})
