"""Foreign code at arm's length: what it raises is an observation, what it says is bounded.

An exception of the loss under test may be a ``SystemExit``, a ``KeyboardInterrupt``, or one
whose message raises in its turn.  None of them ends a run, except the Ctrl-C of a user.
"""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from .errors import TargetRaised

#: Characters of an exception's message and of its class's name that are kept.
_TEXT, _NAME = 300, 100
_UNREADABLE: Final = "<its message cannot be read>"


class _Interrupts:
    """Whether a ``KeyboardInterrupt`` is the user's: only a signal makes it so."""

    watched = False  # without a watch every one of them counts as the user's
    came = False


@contextmanager
def interrupts_watched() -> Iterator[None]:
    """Within it, a ``KeyboardInterrupt`` that no signal brought is the loss's own.

    One that a signal brought is not lost, either, should the loss swallow it.
    """
    outer = _Interrupts.watched
    if outer:
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()

    def handler(number: int, frame: FrameType | None) -> None:
        _Interrupts.came = True
        if callable(before):
            before(number, frame)

    _Interrupts.watched, _Interrupts.came = True, False
    handled = main and callable(before)
    if handled:
        signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        _Interrupts.watched = False
        if handled:
            signal.signal(signal.SIGINT, before)


def users_own(error: BaseException) -> bool:
    """Whether it is the Ctrl-C of a user, which ends the run, and not the loss's doing."""
    return isinstance(error, KeyboardInterrupt) and (_Interrupts.came or not _Interrupts.watched)


def guarded(during: str, work: Callable[[], Any]) -> Any:
    """The result of foreign ``work``; what it raises leaves as :class:`TargetRaised`.

    A copy of this process that ``work`` forked and let return ends here: nobody waits for
    what it would say.
    """
    process = os.getpid()
    try:
        return work()
    except TargetRaised:
        raise
    except BaseException as error:
        if users_own(error):
            raise
        # A generator there (checkpoint's, say) holds its hooks in force for as long as the
        # exception is known.
        traceback.clear_frames(sys.exc_info()[2])
        raise TargetRaised(error, during) from error
    finally:
        if os.getpid() != process:
            os._exit(0)
        if _Interrupts.watched and _Interrupts.came:
            raise KeyboardInterrupt


def name_of(thing: Any) -> str:
    """The name of the class of anything, bounded."""
    name = type.__getattribute__(type(thing), "__name__")
    return _shortened(str.__str__(name), _NAME)


def text_of(error: BaseException, limit: int = _TEXT) -> str:
    """The first line of its message, bounded; its own ``__str__`` may fail or lie."""
    try:
        text = str.__str__(str(error))
    except BaseException as other:
        if users_own(other):
            raise
        return _UNREADABLE
    lines = text[: 10 * limit].strip().splitlines() or [""]
    return _shortened(lines[0], limit)


def described(error: BaseException) -> str:
    """The exception in one line: its class and the first line of its message."""
    return f"{name_of(error)}: {text_of(error)}"


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _places() -> tuple[str, ...]:
    import hypothesis
    import torch

    ours = Path(__file__).parent
    known = [ours, *(Path(str(m.__file__)).parent for m in (hypothesis, torch))]
    standard = sysconfig.get_paths()
    return (*(f"{place}{os.sep}" for place in known), f"{standard['stdlib']}{os.sep}")


def came_from_outside(error: BaseException) -> bool:
    """Whether code of neither the suite nor torch nor the standard library took part.

    Nothing of the suite raises what is no ``Exception``.
    """
    if not isinstance(error, Exception):
        return True
    places, site = _places(), f"{sysconfig.get_paths()['purelib']}{os.sep}"
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        known = name.startswith(places[:-1]) or (
            name.startswith(places[-1]) and not name.startswith(site)
        )
        if not known and not name.startswith("<frozen"):
            return True
        trace = trace.tb_next
    return False
