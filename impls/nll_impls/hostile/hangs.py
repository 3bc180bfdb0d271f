"""The call never ends."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import threading
import time
from typing import Any

import torch

from ._hostile import Call, hostile, in_backward

LONG_S = 10_000


@hostile("timeout", "no answer")
def sleeps(call: Call) -> None:
    """Sleeps for hours."""
    time.sleep(LONG_S)


@hostile("timeout", "no answer")
def swallows_everything(call: Call) -> None:
    """Loops, and goes on whatever is raised."""
    while True:
        try:
            while True:
                time.sleep(0.001)
        except BaseException:  # noqa: BLE001, S112 - that is the harm
            continue


@hostile("timeout", "no answer")
def spins(call: Call) -> None:
    """Loops in Python without a pause."""
    while True:
        pass


@hostile("timeout", "no answer")
def sleeps_in_c_with_the_lock(call: Call) -> None:
    """Sleeps in C and keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(LONG_S)


@hostile("timeout", "no answer")
def sleeps_in_c(call: Call) -> None:
    """Sleeps in C without the interpreter's lock."""
    ctypes.CDLL(None).sleep(LONG_S)


@hostile("timeout", "no answer")
def ignores_signals(call: Call) -> None:
    """Ignores or blocks all signals that it can, then sleeps."""
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(LONG_S)


@hostile("timeout", "no answer")
def stops_itself(call: Call) -> None:
    """Stops its own process."""
    os.kill(os.getpid(), signal.SIGSTOP)


@hostile("timeout", "no answer")
def waits_for_itself(call: Call) -> None:
    """Takes a lock twice."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@hostile("timeout", "no answer")
def hangs_in_backward(call: Call) -> Any:
    """Backward never returns."""
    return in_backward(call, functools.partial(time.sleep, LONG_S))


@hostile("timeout", "no answer")
def hook_that_never_returns(call: Call) -> torch.Tensor:
    """A hook on the gradient never returns."""
    loss = call.loss()
    if loss.requires_grad:
        loss.register_hook(lambda grad: time.sleep(LONG_S))  # type: ignore[no-untyped-call]
    else:
        time.sleep(LONG_S)
    return loss


@hostile("timeout", "no answer")
def message_that_never_ends(call: Call) -> None:
    """Raises an exception whose message takes for ever."""

    class Slow(Exception):
        def __str__(self) -> str:
            time.sleep(LONG_S)
            return ""

    raise Slow
