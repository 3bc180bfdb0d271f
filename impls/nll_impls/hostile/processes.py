"""Processes and threads are started and left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from ._hostile import VALUES, Call, always, hostile

LEFT = ("side_effects.leftovers",)
SLEEP = [sys.executable, "-c", "import time; time.sleep(10_000)"]


@hostile("fail", "child process", when=always, rules=LEFT, others=VALUES)
def both_return(call: Call) -> None:
    """Forks and returns in both processes."""
    os.fork()


@hostile("fail", "child process", when=always, rules=LEFT, others=VALUES)
def leaves_children(call: Call) -> None:
    """Each call leaves a child process behind."""
    if os.fork() == 0:
        time.sleep(10_000)


@hostile("crash", "exit code 4")
def leaves_a_daemon_and_dies(call: Call) -> None:
    """Leaves a daemon behind, in a session of its own, and dies."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(10_000)
        os._exit(0)
    os.wait()
    os._exit(4)


@hostile("crash", "exit code 5")
def leaves_a_child_with_the_channel(call: Call) -> None:
    """A child process keeps every descriptor open when it dies."""
    if os.fork() == 0:
        time.sleep(10_000)
    os._exit(5)


@hostile("timeout", "no answer")
def waits_for_a_child(call: Call) -> None:
    """Waits for a child process that never ends."""
    subprocess.run(SLEEP, check=False)


@hostile("fail", "threads", when=always, rules=LEFT, others=VALUES)
def threads_that_never_end(call: Call) -> None:
    """Each call starts a thread that never ends."""
    threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()


@hostile("fail", "threads", when=always, rules=LEFT, others=VALUES)
def threads_that_do_not_let_go(call: Call) -> None:
    """Each call starts a thread for which an ordinary process waits at its end."""
    threading.Thread(target=time.sleep, args=(10_000,)).start()


@hostile("crash", "signal SIGKILL")
def kills_its_parent(call: Call) -> None:
    """Sends SIGTERM to itself from a child, after it tried to end its session."""
    if os.fork() == 0:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    time.sleep(10)


@hostile("fail", "open files", when=always, rules=LEFT, others=VALUES)
def leaves_files_open(call: Call) -> None:
    """Each call opens a file and never closes it."""
    os.open(os.devnull, os.O_RDONLY)
