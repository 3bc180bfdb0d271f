"""Vocabulary-parallel losses on real process groups, called as one function.

:func:`on_ranks` makes a loss in the call of the family ``vocab_parallel_cross_entropy`` of what
a package computes on each rank: the logits are split, each rank gets its shard, and gives back
its loss and its shard's gradient.  Ranks are processes of this machine, joined by gloo.
"""

from __future__ import annotations

import builtins
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import Tensor

from nll_conformance.families.vocab_parallel_cross_entropy.shards import shards

from .nursery import WORLD
from .parcels import Parcel
from .rank import Answer, Backward, Forward, Raised, Reply

#: How long the package may take to import.
IMPORT_S = 120
#: How long the ranks may take to find each other, and to answer a call.
ANSWER_S = 20
#: How long the others are waited for when one rank has raised.
GRACE_S = 0.5


class RankError(RuntimeError):
    """A rank died, or did not answer."""


def on_ranks(where: str, *, at_once: bool = False) -> Callable[..., Tensor]:
    """The loss whose ranks are prepared by ``where`` (``module:function``, see :mod:`.nursery`).

    Called with whole tensors, as its family's losses are; up to ``WORLD`` ranks.  ``at_once``
    imports the module now, in a process of its own, rather than at the first call; a module
    that is itself ``where`` must leave it.
    """
    group = Ranks(where)
    if at_once:
        group.open()

    def loss(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        ranks: int = 2,
        **options: Any,
    ) -> Tensor:
        differentiate = torch.is_grad_enabled() and input.requires_grad
        value: Tensor = _OnRanks.apply(  # type: ignore[no-untyped-call]
            input, target, weight, group, ranks, options, differentiate
        )
        return value

    return loss


class _OnRanks(torch.autograd.Function):
    """The losses of all ranks, stacked; backward gives each rank its own upstream gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        group: Ranks,
        ranks: int,
        options: dict[str, Any],
        differentiate: bool,
    ) -> Tensor:
        axis = 1 if input.dim() > 1 else 0
        places = shards(input.shape[axis], ranks)
        # A slice of contiguous logits is what no rank ever holds: its shard is contiguous.
        parts = [input.detach().narrow(axis, place.start, len(place)) for place in places]
        if input.is_contiguous():
            parts = [part.contiguous() for part in parts]
        autocast = torch.is_autocast_enabled("cpu")
        number, answers = group.forward(
            parts,
            target=Parcel.of(target),
            weight=None if weight is None else Parcel.of(weight),
            options={**options, "ranks": ranks, "classes": input.shape[axis], "axis": axis},
            differentiate=differentiate,
            default_dtype=_word(torch.get_default_dtype()),
            autocast=_word(torch.get_autocast_dtype("cpu")) if autocast else None,
        )
        ctx.call, ctx.axis = _Call(group, number, input.detach(), places), axis
        ctx.call.written_back(answers, axis)
        return torch.stack([answer.tensor.open() for answer in answers])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        answers = ctx.call.group.backward(ctx.call.number, upstream.unbind())
        ctx.call.written_back(answers, ctx.axis)
        grads = [answer.tensor.open() for answer in answers]
        return torch.cat(grads, ctx.axis), None, None, None, None, None, None


class _Call:
    """One call, known to the ranks by its number until this object is gone."""

    def __init__(
        self, group: Ranks, number: int, logits: Tensor, places: tuple[range, ...]
    ) -> None:
        self.group, self.number, self._logits, self._places = group, number, logits, places

    def written_back(self, answers: Sequence[Answer], axis: int) -> None:
        """What a rank did to its shard happens to the caller's logits."""
        for place, answer in zip(self._places, answers, strict=True):
            if answer.overwritten is not None:
                part = self._logits.narrow(axis, place.start, len(place))
                part.copy_(answer.overwritten.open())

    def __del__(self) -> None:
        self.group.dropped.append(self.number)


class Ranks:
    """The processes: started when first asked, and again after one of them was lost."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._ranks: list[Connection] = []
        #: Calls whose graphs nobody needs any more.
        self.dropped: list[int] = []
        self._control: socket.socket | None = None

    def open(self) -> socket.socket:
        """The socket to the process that has imported the module; starts it if need be."""
        if self._control is None:
            self._control = self._opened()
        return self._control

    def _opened(self) -> socket.socket:
        control, theirs = socket.socketpair()
        with theirs:
            where = self._where
            command = [sys.executable, "-m", f"{__package__}.nursery", str(theirs.fileno()), where]
            nursery = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        weakref.finalize(self, _end, control, nursery)
        control.settimeout(IMPORT_S)
        if control.recv(1) != b"!":
            raise RankError(f"the process that imports {where} ended")
        return control

    def forward(self, parts: Sequence[Tensor], **same: Any) -> tuple[int, list[Answer]]:
        """Call the loss on a rank for each part; the call's number, and what each answered.

        ``same`` are the fields of ``Forward`` that every rank gets alike.
        """
        if len(parts) > WORLD:
            raise ValueError(f"at most {WORLD} ranks, not {len(parts)}")
        with self._lock:
            number = next(self._numbers)
            dropped, self.dropped = tuple(self.dropped), []
            return number, self._ask(
                [Forward(number, Parcel.of(p), dropped=dropped, **same) for p in parts]
            )

    def backward(self, number: int, upstream: Sequence[Tensor]) -> list[Answer]:
        """Send each rank what arrives at its loss; what each answered."""
        with self._lock:
            return self._ask([Backward(number, Parcel.of(each)) for each in upstream])

    def _ask(self, messages: Sequence[Forward | Backward]) -> list[Answer]:
        if not self._ranks:
            self._start()
        replies: dict[int, Reply] = {}
        try:
            for rank, message in zip(self._ranks, messages, strict=False):
                rank.send(message)
            self._receive(replies, len(messages))
        except OSError as error:
            raise RankError(f"a rank of {self._where} died: {error}") from error
        finally:
            if len(replies) < len(messages):  # the others wait for what will not come
                self._stop()
        raised = {n: reply for n, reply in sorted(replies.items()) if isinstance(reply, Raised)}
        for number, reply in raised.items():
            raise _exception(reply.kind)(f"rank {number} of {len(messages)}: {reply.text}")
        return [reply for _, reply in sorted(replies.items()) if isinstance(reply, Answer)]

    def _receive(self, replies: dict[int, Reply], count: int) -> None:
        """Collect ``count`` replies; fewer if a rank raises and leaves others waiting."""
        waiting = {rank: number for number, rank in enumerate(self._ranks[:count])}
        deadline = time.monotonic() + ANSWER_S
        while waiting:
            ready = wait(list(waiting), max(deadline - time.monotonic(), 0.0))
            for rank in ready:
                assert isinstance(rank, Connection)
                number = waiting.pop(rank)
                try:
                    replies[number] = rank.recv()
                except EOFError:
                    raise RankError(f"rank {number} of {count} died during the call") from None
                if isinstance(replies[number], Raised):
                    deadline = min(deadline, time.monotonic() + GRACE_S)
            if not ready:
                if any(isinstance(reply, Raised) for reply in replies.values()):
                    return
                silent = ", ".join(map(str, waiting.values()))
                raise RankError(f"rank {silent} of {count} did not answer in {ANSWER_S} s")

    def _start(self) -> None:
        """New ranks in the place of whatever there is; returns when all have joined."""
        self._stop()
        pairs = [socket.socketpair() for _ in range(WORLD)]
        try:
            socket.send_fds(self.open(), [b"!"], [theirs.fileno() for _, theirs in pairs])
        except OSError as error:
            raise RankError(f"the process that imports {self._where} ended") from error
        for ours, theirs in pairs:
            theirs.close()
            self._ranks.append(Connection(ours.detach()))
        for number, rank in enumerate(self._ranks):
            try:
                joined = rank.poll(ANSWER_S) and rank.recv()
            except EOFError:
                joined = False
            if not joined:
                self._stop()
                raise RankError(f"rank {number} did not join the process group")

    def _stop(self) -> None:
        """Leave these ranks to the nursery, which ends them when it starts others."""
        for rank in self._ranks:
            rank.close()
        self._ranks.clear()


def _end(control: socket.socket, nursery: subprocess.Popen[bytes]) -> None:
    control.close()
    nursery.wait(10)


def _exception(name: str) -> type[Exception]:
    """The built-in exception of that name, RuntimeError for any other."""
    kind = getattr(builtins, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
