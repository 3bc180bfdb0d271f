"""One rank of a process group that computes a vocabulary-parallel loss on its shard.

Runs in a process that :mod:`.nursery` forks.  It answers one message at a time; what a
message leaves behind (the graph of a loss) is kept until the caller has dropped it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

from .parcels import Parcel

#: How long a collective waits for the other ranks.
COLLECTIVE_S = 15


@dataclass(frozen=True)
class RankLoss:
    """What a package computes on one rank.

    ``call(shard, target, weight, ranks=, classes=, axis=, **options)`` returns this rank's
    loss: ``shard`` holds its share of ``classes`` in dimension ``axis``, ``target`` and
    ``weight`` are whole.  ``around`` is entered for the call and for its backward.
    """

    call: Callable[..., Tensor]
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


@dataclass(frozen=True)
class Forward:
    """A call: the tensors, the options, and the modes under which the caller made it."""

    number: int
    shard: Parcel
    target: Parcel
    weight: Parcel | None
    options: dict[str, Any]
    differentiate: bool
    default_dtype: str
    autocast: str | None
    #: Calls whose graphs are needed no more.
    dropped: tuple[int, ...]


@dataclass(frozen=True)
class Backward:
    """What arrives at the loss of an earlier call."""

    number: int
    upstream: Parcel


@dataclass(frozen=True)
class Answer:
    """A loss, or the gradient of the shard; the shard itself where it was overwritten."""

    tensor: Parcel
    overwritten: Parcel | None


@dataclass(frozen=True)
class Raised:
    """What the loss raised: the name of the exception's class and its text."""

    kind: str
    text: str


Reply: TypeAlias = Answer | Raised


@dataclass
class Graph:
    """A loss and the shard that it was computed from."""

    loss: Tensor
    shard: Tensor
    told: bytes = field(repr=False)

    def overwritten(self) -> Parcel | None:
        """The shard if it has changed since the caller was last told."""
        now = Parcel.of(self.shard)
        if now.data == self.told:
            return None
        self.told = now.data
        return now


def serve(
    connection: Connection,
    prepare: Callable[[], RankLoss],
    *,
    rank: int,
    world: int,
    store: str,
) -> None:
    """Join the process group, then answer until the connection is closed."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=COLLECTIVE_S),
    )
    loss = prepare()
    graphs: dict[int, Graph] = {}
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send("ready")
        while True:
            message = connection.recv()
            connection.send(_answer(loss, message, graphs))


def _answer(loss: RankLoss, message: Forward | Backward, graphs: dict[int, Graph]) -> Reply:
    try:
        if isinstance(message, Forward):
            return _forward(loss, message, graphs)
        if message.number not in graphs:
            return Raised("RuntimeError", "this loss was computed by ranks that are gone")
        return _backward(loss, message, graphs[message.number])
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return Raised(type(error).__name__, str(error))


def _forward(loss: RankLoss, message: Forward, graphs: dict[int, Graph]) -> Answer:
    for number in message.dropped:
        graphs.pop(number, None)
    shard = message.shard.open().requires_grad_(message.differentiate)
    weight = None if message.weight is None else message.weight.open()
    autocast = (
        contextlib.nullcontext()
        if message.autocast is None
        else torch.autocast("cpu", dtype=getattr(torch, message.autocast))
    )
    torch.set_default_dtype(getattr(torch, message.default_dtype))
    with torch.set_grad_enabled(message.differentiate), loss.around(), autocast:
        value = loss.call(shard, message.target.open(), weight, **message.options)
    graph = Graph(value, shard, message.shard.data)
    if message.differentiate:
        graphs[message.number] = graph
    return Answer(Parcel.of(value), graph.overwritten())


def _backward(loss: RankLoss, message: Backward, graph: Graph) -> Answer:
    upstream = message.upstream.open()
    with loss.around():
        (grad,) = torch.autograd.grad(graph.loss, graph.shard, upstream, retain_graph=True)
    return Answer(Parcel.of(grad), graph.overwritten())
