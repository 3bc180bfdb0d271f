"""What the tests have workers do; small, so that a fork server without torch suffices."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from nll_conformance.isolation import Channel

ACTIONS: dict[str, Callable[[Channel], object]] = {}


def action(function: Callable[[Channel], object]) -> Callable[[Channel], object]:
    """Let a test ask for it by name."""
    ACTIONS[function.__name__] = function
    return function


def serve(channel: Channel) -> None:
    """Echo every message; do what its ``do`` names before."""
    while True:
        message = channel.receive()
        if "do" in message:
            channel.send({"announced": message["do"]})
            message["result"] = ACTIONS[message["do"]](channel)
        channel.send(message)


def serve_torch(channel: Channel) -> None:
    """Use torch, with and without threads and gradients, after the fork."""
    torch: Any = importlib.import_module("torch")
    while True:
        channel.receive()
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        x = torch.randn(400, 400, requires_grad=True)
        (x @ x).logsumexp(1).sum().backward()
        channel.send({"threads": threads, "cuda": torch.cuda.is_initialized()})


@action
def tell_environment(_: Channel) -> dict[str, str]:
    return dict(os.environ)


@action
def segfault(_: Channel) -> None:
    os.write(1, b"last words\n")
    ctypes.string_at(0)


@action
def kill_itself(_: Channel) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@action
def abort(_: Channel) -> None:
    os.abort()


@action
def leave(_: Channel) -> None:
    os._exit(0)


@action
def sys_exit(_: Channel) -> None:
    sys.exit(0)


@action
def raise_interrupt(_: Channel) -> None:
    raise KeyboardInterrupt


@action
def hang(_: Channel) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:  # noqa: BLE001 - that is what it is about
            continue


@action
def sleep_natively(_: Channel) -> None:
    ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock


@action
def spin_natively(_: Channel) -> None:
    ctypes.pythonapi.PyRun_SimpleString(b"while True: pass")


@action
def print_forever(_: Channel) -> None:
    while True:
        os.write(1, b"\x1b[31mred \xff\xe2\x80\xae\n" * 1000)


@action
def print_much(_: Channel) -> None:
    os.write(2, b"x" * 5_000_000 + b"end")


@action
def close_descriptors(_: Channel) -> None:
    os.closerange(0, 1024)
    time.sleep(1000)


@action
def close_standard(_: Channel) -> None:
    os.closerange(0, 64)


@action
def stop_itself(_: Channel) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@action
def grow(_: Channel) -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(2**20)) * 10)
        time.sleep(0.01)


@action
def grow_in_child(_: Channel) -> None:
    if os.fork() == 0:
        grow(_)
    time.sleep(1000)


@action
def leave_children(_: Channel) -> list[int]:
    """One child that stays, one in a session of its own, one daemon (double fork)."""
    sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
    stays = subprocess.Popen(sleep)
    apart = subprocess.Popen(sleep, start_new_session=True)
    reading, writing = os.pipe()
    if (middle := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            time.sleep(1000)
        os._exit(0)
    os.waitpid(middle, 0)
    return [stays.pid, apart.pid, int(os.read(reading, 20))]


@action
def die_but_keep_channel(_: Channel) -> None:
    if os.fork() == 0:
        time.sleep(1000)  # the child still holds the channel
    os._exit(3)


@action
def recurse(_: Channel) -> None:
    sys.setrecursionlimit(10**9)

    def deeper(n: int) -> list[int]:
        return sorted([n, n], key=functools.partial(deeper))

    deeper(0)


@action
def endless_threads(_: Channel) -> None:
    for _number in range(3):
        threading.Thread(target=time.sleep, args=(1000,)).start()


@action
def forge(channel: Channel) -> None:
    os.write(channel.fileno(), b'{"kind": NaN}\n')
    time.sleep(1000)


@action
def flood(channel: Channel) -> None:
    os.set_blocking(channel.fileno(), True)
    while True:
        os.write(channel.fileno(), b"x" * 2**20)
