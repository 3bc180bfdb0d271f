"""The process dies, or what is raised would end an ordinary one."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import resource
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from ._hostile import GRADIENT, VALUES, Call, always, hostile, in_backward


@hostile("crash", "exit code 0")
def exits_without_a_word(call: Call) -> None:
    """Ends the process as if all were well."""
    os._exit(0)


@hostile("crash", "closed its channel")
def exits_with_a_number_of_ours(call: Call) -> None:
    """Ends the process with a status that a worker has another meaning for."""
    os._exit(81)


@hostile("fail", "SystemExit: 0")
def sys_exit(call: Call) -> None:
    """Calls sys.exit(0)."""
    sys.exit(0)


@hostile("fail", "backward raised SystemExit: 0")
def sys_exit_in_backward(call: Call) -> Any:
    """Calls sys.exit(0) in backward."""
    return in_backward(call, functools.partial(sys.exit, 0))


@hostile("crash", "exit code 7")
def exits_in_a_thread(call: Call) -> None:
    """A thread that it started ends the process a little later."""
    threading.Thread(target=os._exit, args=(7,)).start()
    time.sleep(10)


@hostile("fail", "KeyboardInterrupt")
def keyboard_interrupt(call: Call) -> None:
    """Raises KeyboardInterrupt."""
    raise KeyboardInterrupt


@hostile("fail", "KeyboardInterrupt", when=always, rules=GRADIENT, others=VALUES)
def keyboard_interrupt_in_backward(call: Call) -> Any:
    """Raises KeyboardInterrupt in backward, always."""

    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    return in_backward(call, interrupt)


@hostile("fail", "GeneratorExit")
def generator_exit(call: Call) -> None:
    """Raises GeneratorExit, which generators swallow."""
    raise GeneratorExit


@hostile("fail", "StopIteration")
def stop_iteration(call: Call) -> None:
    """Raises StopIteration, which ends loops."""
    raise StopIteration


@hostile("crash", "signal SIGKILL")
def kills_itself(call: Call) -> None:
    """Sends itself SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


@hostile("crash", "signal SIGSEGV")
def segmentation_fault(call: Call) -> None:
    """Sends itself SIGSEGV."""
    os.kill(os.getpid(), signal.SIGSEGV)


@hostile("crash", "signal SIGSEGV")
def null_pointer(call: Call) -> None:
    """Reads address 0."""
    ctypes.string_at(0)


@hostile("crash", "signal SIGABRT")
def aborts(call: Call) -> None:
    """Calls abort, as a failed C assertion does."""
    os.abort()


@hostile("crash", "signal SIGFPE")
def divides_by_zero(call: Call) -> None:
    """Sends itself SIGFPE."""
    os.kill(os.getpid(), signal.SIGFPE)


@hostile("crash", "signal SIGTERM")
def kills_its_session(call: Call) -> None:
    """Sends SIGTERM to its process group."""
    os.killpg(0, signal.SIGTERM)


@hostile("crash", "signal SIGSEGV")
def dies_in_backward(call: Call) -> Any:
    """Reads address 0 in backward."""
    return in_backward(call, functools.partial(ctypes.string_at, 0))


@hostile("fail", "RecursionError")
def recursion(call: Call) -> Any:
    """Calls itself without end."""
    return recursion(*vars(call).values())


@hostile("crash", "signal SIG")
def recursion_without_limit(call: Call) -> None:
    """Lifts the recursion limit and fills the C stack."""
    sys.setrecursionlimit(10**9)

    def deeper(_: object) -> list[int]:
        return sorted([1, 2], key=deeper)

    deeper(0)


@hostile("fail", "MemoryError")
def raises_memory_error(call: Call) -> None:
    """Asks for more memory than there can be."""
    bytearray(2**62)


@hostile("crash", "ran out of memory")
def memory_at_once(call: Call) -> None:
    """Touches gigabytes as fast as it can."""
    kept = []
    while True:
        kept.append(b"x" * 2**28)


@hostile("crash", "ran out of memory")
def memory_by_and_by(call: Call) -> None:
    """Grows by 20 MB every few milliseconds."""
    kept = []
    while True:
        kept.append(bytearray(b"x") * (20 * 2**20))
        time.sleep(0.002)


@hostile("crash", "ran out of memory")
def memory_in_a_child(call: Call) -> None:
    """A child process grows instead of it."""
    if os.fork() == 0:
        memory_at_once.__wrapped__(call)  # type: ignore[attr-defined]
    time.sleep(10)


@hostile("crash", "signal SIG")
def cpu_limit(call: Call) -> None:
    """Lowers its own limit of CPU time and burns it."""
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + 1, used + 1))
    gc.disable()
    while True:
        pass
