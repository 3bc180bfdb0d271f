"""The fork server: imports once, forks a worker per request, and leaves nothing behind.

Started by the supervisor as a fresh interpreter, so the user's ``__main__`` is never
imported again.  It has one thread, as forking demands, and answers one request at a time:

    start   entry, preload, method   -> {} or {"error": why}
    fork    + two descriptors        -> pid
    look    pid, memory              -> status (null while it runs), resident_bytes
    reap    pid                      -> status, left; kills, never waits, asked until done

It ends, with all that it forked, when its control socket or its parent does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from . import child
from .processes import (
    adopt_orphans,
    describe,
    kill_session,
    resident_bytes,
    send_kill,
    table,
)

_REQUEST_BYTES: Final = 2**16
_PARENT_CHECK_S: Final = 1.0
_LAST_KILL_S: Final = 5.0
_SPAWN: Final = (
    "import sys; sys.path[:] = sys.argv[5:]; from nll_conformance.isolation.child import main;"
    " main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
)


class Server:
    """The state of the fork server: its socket, what to run, and who is not yet reaped."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._supervisor = os.getppid()
        self._workers: set[int] = set()
        self._statuses: dict[int, int] = {}
        self._wanted: dict[str, Any] = {}
        self._answers: dict[str, Callable[..., dict[str, Any]]] = {
            "start": self._start,
            "fork": self._fork,
            "look": self._look,
            "reap": self._reap,
        }
        self._entry: child.Entry | None = None

    def run(self) -> None:
        """Answer until the supervisor is gone, then end everything that was forked."""
        try:
            while (request := self._next()) is not None:
                message, fds = request
                number, answering = message.pop("id"), self._answers[message.pop("op")]
                answer = {"id": number, **answering(*fds, **message)}
                self._control.sendall(json.dumps(answer).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self._end_all()

    def _next(self) -> tuple[dict[str, Any], list[int]] | None:
        # The kernel's death signal would be wrong here: it comes when the *thread* that
        # started this process ends, and it would leave no time to end the workers.
        while not select.select([self._control], [], [], _PARENT_CHECK_S)[0]:
            if os.getppid() != self._supervisor:
                return None
        line, fds, _flags, _address = socket.recv_fds(self._control, _REQUEST_BYTES, 2)
        while line and not line.endswith(b"\n"):
            more = self._control.recv(_REQUEST_BYTES)
            line = line + more if more else b""
        return (json.loads(line), fds) if line else None

    def _start(self, entry: str, preload: list[str], method: str) -> dict[str, Any]:
        self._wanted = {"entry": entry, "preload": preload}
        if method == "spawn":
            return {}
        try:
            self._entry = child.prepare(entry, preload)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the user must see it
            return {"error": f"{type(error).__name__}: {describe(error)}"}
        gc.collect()
        gc.freeze()  # else the first collection in a worker copies every page of torch
        return {}

    def _fork(self, channel_fd: int, output_fd: int) -> dict[str, Any]:
        sys.stdout.flush()
        sys.stderr.flush()
        if self._entry is None:
            pid = self._spawned(channel_fd, output_fd)
        else:
            server = os.getpid()
            with warnings.catch_warnings():
                # Newer interpreters warn of forking beside threads of native libraries.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                self._control.close()
                child.serve(self._entry, channel_fd, output_fd, server)
        os.close(channel_fd)
        os.close(output_fd)
        self._workers.add(pid)
        self._statuses.pop(pid, None)
        return {"pid": pid}

    def _spawned(self, channel_fd: int, output_fd: int) -> int:
        numbers = [str(channel_fd), str(output_fd), str(os.getpid())]
        command = [sys.executable, "-c", _SPAWN, *numbers, json.dumps(self._wanted), *sys.path]
        started = subprocess.Popen(command, pass_fds=(channel_fd, output_fd))
        started.returncode = 0  # it is reaped here by number, not by that object
        return started.pid

    def _look(self, pid: int, memory: bool) -> dict[str, Any]:
        status = self._status(pid, keep=True)
        resident = resident_bytes(pid) if memory and status is None else None
        return {"status": status, "resident_bytes": resident}

    def _reap(self, pid: int) -> dict[str, Any]:
        if pid in self._workers:
            kill_session(pid)
        # In this order: its orphans are adopted before it can be reaped.
        status = self._status(pid, keep=False)
        return {"status": status, "left": self._sweep(pid)}

    def _status(self, pid: int, *, keep: bool) -> int | None:
        """How ``pid`` ended, None if it runs.  Kept unreaped, its number is not reused."""
        if pid not in self._workers:
            return self._statuses.get(pid, 0)
        if keep and hasattr(os, "waitid"):
            how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if how is None:
                return None
            exited = how.si_code == os.CLD_EXITED
            return how.si_status if exited else -how.si_status
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return None
        self._workers.discard(pid)
        self._statuses[pid] = os.waitstatus_to_exitcode(status)
        return self._statuses[pid]

    def _sweep(self, worker: int | None = None) -> int:
        """Kill what ``worker`` left behind, and orphans outside any worker's session.

        Returns how many it met; 0 means that nothing is left, not even their children.
        """
        left = 0
        for process in table():
            if process.pid in self._workers:
                continue
            adopted = process.parent == os.getpid()
            stray = adopted and process.session not in self._workers
            if adopted and process.zombie:
                os.waitpid(process.pid, os.WNOHANG)
            elif stray or process.session == worker:
                send_kill(process.pid)
            else:
                continue
            left += 1
        return left

    def _end_all(self) -> None:
        give_up = time.monotonic() + _LAST_KILL_S
        while time.monotonic() < give_up:
            for pid in list(self._workers):
                self._reap(pid)
            if not self._workers and not self._sweep():
                return
            time.sleep(0.005)


def main(control_fd: int) -> None:
    """Serve on ``control_fd`` until the supervisor is gone."""
    del sys.argv[1:]  # a target that reads its arguments finds none
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    os.set_inheritable(control_fd, False)
    with _own_temporary_folder():
        Server(socket.socket(fileno=control_fd)).run()


@contextlib.contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """What targets leave in it goes with the server; compilers keep their shared cache."""
    usual = Path(tempfile.gettempdir())
    cache = usual / f"torchinductor_{os.environ.get('USER') or os.getuid()}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    with tempfile.TemporaryDirectory(
        prefix="nll-conformance-", dir=usual, ignore_cleanup_errors=True
    ) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield


if __name__ == "__main__":
    main(int(sys.argv[1]))
