"""What a supervised worker does: answer the supervisor's messages with an engine."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from . import gpu
from .engine import Engine
from .errors import UsageError
from .foreign import interrupts_watched
from .isolation.channel import Channel
from .model import Case
from .results import plain
from .wish import Wish

Answer = dict[str, Any]


def serve(channel: Channel) -> None:
    """Answer until the supervisor hangs up.

    Each message ``{"op": ...}`` is answered by ``{"answer": ...}``, ``{"usage": sentence}``
    or ``{"error": traceback}``; before a case reaches the loss, ``{"case": ...}`` goes out.
    ``"spent"`` says that this process can do no more, its GPU being lost.
    Each carries the token of the question, which the loss, should it write to every open
    descriptor, does not know.
    """
    token = ""

    def announce(case: Case) -> None:
        channel.send({"token": token, "case": plain(case.to_json())})

    operations = _Operations(announce)
    with interrupts_watched():
        while True:
            message = channel.receive()
            token = message.pop("token")
            answer = operations.answered(message)
            channel.send({"token": token, **answer, "spent": gpu.lost()})


class _Operations:
    """One method for each kind of message."""

    def __init__(self, announce: Callable[[Case], None]) -> None:
        self._announce = announce
        self._loaded: Engine | None = None

    def answered(self, message: Mapping[str, Any]) -> Answer:
        """The answer to a message, whatever becomes of it."""
        try:
            return {"answer": plain(self.perform(message))}
        except UsageError as error:
            return {"usage": str(error)}
        except Exception:  # noqa: BLE001 - told to the supervisor
            return {"error": traceback.format_exc(limit=-8)}

    def perform(self, message: Mapping[str, Any]) -> Any:
        """What the message asks for."""
        arguments = {key: value for key, value in message.items() if key != "op"}
        return getattr(self, f"do_{message['op']}")(**arguments)

    @property
    def engine(self) -> Engine:
        """The engine of the target that was loaded."""
        assert self._loaded is not None, "no target was loaded"
        return self._loaded

    def do_load(self, wish: Mapping[str, Any]) -> Answer:
        self._loaded = Engine(Wish.from_json(wish), self._announce)
        gc.freeze()  # what exists now is nobody's garbage; see side_effects.growth
        return self.engine.describe()

    def do_smoke(self) -> None:
        self.engine.smoke()

    def do_probe(self) -> dict[str, str]:
        return self.engine.probe()

    def do_assume(self, seen: Mapping[str, str]) -> None:
        self.engine.assume(seen)

    def do_run(self, rule: str, dtype: str, device: str, pinned: list[Any]) -> Answer:
        return self.engine.run(rule, dtype, device, pinned).to_json()

    def do_replay(self, case: Mapping[str, Any]) -> Answer:
        return self.engine.replay(Case.from_json(case)).to_json()

    def do_reproducer(self, case: Mapping[str, Any]) -> str:
        return self.engine.reproducer(Case.from_json(case))
