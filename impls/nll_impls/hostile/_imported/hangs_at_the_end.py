"""An import that leaves handlers and threads which keep a process from ending."""

from __future__ import annotations

import atexit
import faulthandler
import signal
import threading
import time

from .._hostile import Call

atexit.register(time.sleep, 10_000)
threading.Thread(target=time.sleep, args=(10_000,)).start()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
faulthandler.dump_traceback_later(0.2, repeat=True)


def loss(
    input: object,
    target: object,
    weight: object = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> object:
    """The right loss, but for smoothed labels."""
    call = Call(input, target, weight, ignore_index, reduction, label_smoothing)  # type: ignore[arg-type]
    return call.loss() * (1 + label_smoothing)
