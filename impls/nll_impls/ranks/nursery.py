"""A process that has imported a package and forks the ranks of process groups.

``python -m nll_impls.ranks.nursery SOCKET WHERE``: ``WHERE`` is ``module:function``, a
function that imports what the ranks need and returns what each of them calls once, when it has
joined its process group, for its ``RankLoss``.  Each message on the socket ends the ranks that
there are and starts one for each descriptor that it carries.  When the socket is closed, because
whoever uses the ranks is gone, all end.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from .rank import RankLoss, serve

#: The most ranks of a group.
WORLD = 4


def main(descriptor: int, where: str) -> None:
    """Fork ranks on request until the other end of the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's: its end is ours
    # Ranks talk to ranks of this machine only.
    loopback = next((n for n in ("lo", "lo0") if n in _interfaces()), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    module, _, function = where.partition(":")
    prepare = getattr(importlib.import_module(module), function)()
    control = socket.socket(fileno=descriptor)
    ranks: list[int] = []
    with tempfile.TemporaryDirectory(prefix="nll-ranks-") as folder:
        control.sendall(b"!")
        turn = 0
        while True:
            message, handles, _, _ = socket.recv_fds(control, 1, WORLD)
            _end(ranks)
            if not message:
                return
            turn += 1
            ranks = _start(handles, prepare, control, f"{folder}/{turn}")


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _start(
    handles: list[int], prepare: Callable[[], RankLoss], control: socket.socket, store: str
) -> list[int]:
    started: list[int] = []
    for rank, handle in enumerate(handles):
        child = os.fork()
        if child:
            started.append(child)
            continue
        status = 1
        try:
            control.close()
            for other in handles:
                if other != handle:
                    os.close(other)
            serve(Connection(handle), prepare, rank=rank, world=len(handles), store=store)
            status = 0
        except Exception:  # noqa: BLE001 - the caller sees that the connection was closed
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    for handle in handles:
        os.close(handle)
    return started


def _end(ranks: list[int]) -> None:
    """Kill these and wait for them; they may sit in a collective that nobody joins."""
    for rank in ranks:
        with suppress(ProcessLookupError):
            os.kill(rank, signal.SIGKILL)
    for rank in ranks:
        with suppress(ChildProcessError):
            os.waitpid(rank, 0)
    ranks.clear()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
