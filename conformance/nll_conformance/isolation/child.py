"""What a worker does with itself before foreign code runs in it, and how it leaves."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from ..errors import SuiteError
from .channel import Channel, ChannelClosed
from .lost import CHANNEL_CLOSED_STATUS
from .processes import die_with_parent

Entry: TypeAlias = Callable[[Channel], object]


def prepare(entry: str, preload: Sequence[str]) -> Entry:
    """Import everything a worker needs and find its function, ``"package.module:name"``."""
    gc.disable()  # importing makes no garbage worth a tenth of the time
    for name in preload:
        importlib.import_module(name)
    module, _, attribute = entry.partition(":")
    function: Entry = getattr(importlib.import_module(module), attribute)
    gc.freeze()  # and what workers never look at stays shared with them
    gc.enable()
    if torch := sys.modules.get("torch"):
        # Two busy threads were measured ten times slower than one on small cases, and a
        # pool of threads does not survive a fork.
        torch.set_num_threads(1)
        if torch.cuda.is_initialized():
            raise SuiteError(f"importing {list(preload)} initialised CUDA")
    return function


def serve(entry: Entry, channel_fd: int, output_fd: int, parent: int) -> NoReturn:
    """Become a worker in a session of its own and leave without any clean-up code."""
    status = 1
    try:
        os.setsid()
        die_with_parent(parent)
        _redirect(output_fd)
        _reset_signals()
        _be_expendable()
        faulthandler.enable()  # a native crash leaves the Python stack as its last words
        entry(Channel.on_high_fd(channel_fd))
        status = 0
    except ChannelClosed:
        status = CHANNEL_CLOSED_STATUS
    except SystemExit as leaving:
        status = _status(leaving.code)
    except BaseException:  # noqa: BLE001 - foreign code may raise anything
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):  # it may be closed, or no stream
                stream.flush()
        os._exit(status)


def _redirect(output_fd: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(null)
    os.close(output_fd)


def _reset_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle


def _be_expendable() -> None:
    """No core file for a crash, and the first to go when the machine runs out of memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _status(code: object) -> int:
    """The exit status of ``sys.exit(code)``, as the interpreter itself computes it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def main(channel_fd: int, output_fd: int, parent: int, start: str) -> NoReturn:
    """A spawned worker: the same without a fork, so it imports everything itself."""
    del sys.argv[1:]

    def entry(channel: Channel) -> None:
        wanted = json.loads(start)
        prepare(wanted["entry"], wanted["preload"])(channel)

    serve(entry, channel_fd, output_fd, parent)
