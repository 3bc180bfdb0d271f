"""Who descends from whom, how much memory that takes, and how to end it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    session: int
    zombie: bool


def table() -> Iterator[Process]:
    """All processes; nothing where there is no ``/proc``."""
    try:
        names = [entry.name for entry in Path("/proc").iterdir()]
    except FileNotFoundError:
        return
    for name in names:
        if name.isdigit() and (stat := _read(f"/proc/{name}/stat")):
            # The second field, the command, may itself hold blanks and parentheses.
            state, parent, _group, session = stat.rpartition(")")[2].split()[:4]
            yield Process(int(name), int(parent), int(session), state in "ZX")


def resident_bytes(pid: int) -> int | None:
    """Resident memory of ``pid`` and its descendants; None where nobody can tell.

    Pages shared with the fork server, which asks, count once: a target starts from them.
    """
    if Path("/proc/self/statm").exists():
        first, *others = map(_own_resident_bytes, _with_descendants(pid))
        # A child begins as a copy of all this; what it shares must not count again.
        shared = _own_resident_bytes(os.getpid())
        return first + sum(max(0, other - shared) for other in others)
    return _resident_bytes_elsewhere(pid)


def _own_resident_bytes(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") if fields else 0


def _with_descendants(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _with_descendants(child)


def children(pid: int) -> Iterator[int]:
    """The children of ``pid``, zombies included; nothing where nobody can tell."""
    # The kernel lists them by thread; that is far cheaper than the whole table.
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        yield from map(int, _read(f"{thread}/children").split())


def _resident_bytes_elsewhere(pid: int) -> int | None:
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return None
    try:
        whole = psutil.Process(pid)
        family = [whole, *whole.children(recursive=True)]
        return sum(int(one.memory_info().rss) for one in family)
    except psutil.Error:  # it ended meanwhile
        return 0


def half_of_memory_mb() -> int | None:
    """Half of what this machine, or its control group, has; None where nobody can tell."""
    limits = [
        _read("/sys/fs/cgroup/memory.max"),
        _read("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ]
    bounds = [int(limit) for limit in limits if limit.strip().isdigit()]
    with contextlib.suppress(ValueError, OSError):  # a system without these names
        bounds.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE"))
    return min(bounds) // 2**21 if bounds else None


def kill_session(leader: int) -> None:
    """SIGKILL to a worker, its process group and, where they can be found, its session."""
    send_kill(leader)  # it may not have made its own session yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in table():
        if process.session == leader:
            send_kill(process.pid)


def send_kill(pid: int) -> None:
    """SIGKILL to one process, which may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` dies, as far as it can (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (Linux).

    A target that daemonises leaves its process group and session, but not this.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # the process ended meanwhile
        return ""


def describe(message: Any) -> str:
    """A short, single-line form of anything, for an error text."""
    return " ".join(str(message).split())[:500]
