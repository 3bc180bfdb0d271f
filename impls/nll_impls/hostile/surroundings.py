"""Descriptors, folders and files around it suffer."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from ._hostile import STATE, VALUES, Call, always, hostile


@hostile("crash", "closed its channel")
def closes_every_descriptor(call: Call) -> None:
    """Closes every descriptor that there may be."""
    os.closerange(0, 65536)


@hostile("crash", "closed its channel")
def covers_every_descriptor(call: Call) -> None:
    """Puts /dev/null over every descriptor."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3, 1024):
        if fd != null:
            os.dup2(null, fd)


@hostile("fail", "expected")
def closes_standard_streams(call: Call) -> object:
    """Closes the standard streams and returns a wrong loss."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    os.closerange(0, 3)
    return call.loss() * 2


@hostile("fail", "current directory", when=always, rules=STATE, others=VALUES)
def changes_directory(call: Call) -> None:
    """Goes to another folder."""
    os.chdir("/")


@hostile("fail", "current directory", when=always, rules=STATE, others=VALUES)
def removes_its_directory(call: Call) -> None:
    """Goes to a folder and removes it."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)


@hostile("fail", "files written", when=always, rules=("side_effects.leftovers",), others=VALUES)
def fills_the_temporary_folder(call: Call) -> None:
    """Each call leaves a file in the temporary folder."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"x" * 4096)


@hostile("fail", "expected")
def floods_the_temporary_folder(call: Call) -> object:
    """Leaves a thousand files in the temporary folder and returns a wrong loss."""
    folder = Path(tempfile.mkdtemp())
    for number in range(1000):
        (folder / f"{number}").write_bytes(b"x" * 1000)
    return call.loss() * 2


@hostile("fail", "signal handlers", when=always, rules=STATE, others=VALUES)
def handles_signals(call: Call) -> None:
    """Puts handlers of its own on signals."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, lambda number, frame: None)


@hostile("crash", "signal SIGALRM")
def alarm(call: Call) -> None:
    """Sets an alarm that ends the process, and waits for it."""
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    threading.Event().wait(10)


@hostile("fail", "standard streams", when=always, rules=STATE, others=VALUES)
def replaces_standard_output(call: Call) -> None:
    """Puts an object without methods in the place of standard output."""
    sys.stdout = object()


@hostile("fail", "environment", when=always, rules=STATE, others=VALUES)
def changes_the_environment(call: Call) -> None:
    """Removes what is in the environment."""
    os.environ.clear()
    os.environ["OMP_NUM_THREADS"] = "64"
