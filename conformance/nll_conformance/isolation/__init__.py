"""Foreign code runs in worker processes; whatever becomes of them, the supervisor goes on.

The life of a worker, in order: the supervisor starts a **fork server** (``server``), a
fresh interpreter that imports torch once and never touches CUDA; for each target the server
forks a **worker** (``child``), which answers JSON lines on a private socket (``channel``);
the supervisor holds a ``Worker`` for it (``handle``), which waits for answers while it
drains the worker's output (``output``) and watches its memory; when the worker is lost, the
server kills and reaps it with everything it started (``processes``).

    with ForkServer() as server, server.worker(memory_limit_mb=4096) as worker:
        worker.send({"op": "run", "rule": "values.value"})
        try:
            answer = worker.receive(deadline=time.monotonic() + 30)
        except WorkerLost as lost:
            print(lost.reason, lost.tail)

It protects against accidents, not malice.  Nothing here imports torch or hypothesis.
"""

from __future__ import annotations

from .channel import Channel, ChannelClosed, ChannelGarbled, ChannelTimeout
from .handle import Worker
from .lost import WorkerDied, WorkerLost, WorkerOutOfMemory, WorkerTimedOut
from .processes import half_of_memory_mb
from .supervisor import ForkServer

__all__ = [
    "Channel",
    "ChannelClosed",
    "ChannelGarbled",
    "ChannelTimeout",
    "ForkServer",
    "Worker",
    "WorkerDied",
    "WorkerLost",
    "WorkerOutOfMemory",
    "WorkerTimedOut",
    "half_of_memory_mb",
]
