"""JSON lines over a private socket, between the supervisor and one other process."""

from __future__ import annotations

import fcntl
import json
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from ..errors import SuiteError

#: No message may be longer; without a bound a broken peer fills the supervisor's memory.
MAX_MESSAGE_BYTES: Final = 64 * 2**20
#: Targets close and reopen descriptors 0 to 2 and "all that I opened"; those are low.
HIGH_FD: Final = 200
_CHUNK_BYTES: Final = 2**20


class ChannelClosed(Exception):
    """The other end is gone; everything it had sent completely was received before."""


class ChannelGarbled(ChannelClosed):
    """What came is no message: not a JSON object, or too long.  Nothing after it counts."""


class ChannelTimeout(Exception):
    """Nothing complete came, or not everything could be sent, within the time allowed."""


class Channel:
    """One end of a socket pair; messages are JSON objects, one a line.

    NaN and infinities are refused (``ValueError``): callers write them as strings.  While
    one end waits to send it keeps reading, so two long messages cannot block each other.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._incoming = bytearray()
        self._scanned = 0  # this much of _incoming is known to hold no newline
        self._outgoing = bytearray()
        self._ended = False

    @classmethod
    def on_high_fd(cls, fd: int) -> Channel:
        """Take over ``fd`` under a high number that exec'd children do not inherit."""
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
        socket.socket(fileno=fd).close()
        return cls(socket.socket(fileno=high))

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], timeout_s: float | None = None) -> None:
        """Send one message, all of it; after ``ChannelTimeout`` the channel is of no use."""
        self.put(message)
        deadline = _deadline(timeout_s)
        while not self.flush():
            if self._ended:
                raise ChannelClosed("the other end closed the channel")
            self._wait(select.POLLIN | select.POLLOUT, deadline)
            self.fill()

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message; what came of an unfinished one is kept across time-outs."""
        deadline = _deadline(timeout_s)
        while (message := self.take()) is None:
            self._wait(select.POLLIN, deadline)
            self.fill()
        return message

    def close(self) -> None:
        """Close this end; the other one reads what was sent, then ``ChannelClosed``."""
        self._socket.close()

    def finish(self) -> None:
        """Tell the other end that nothing more comes, and still read what it sends."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._ended = True  # the other end went first

    # Steps that never wait, for those who wait for several things at once.

    def put(self, message: Mapping[str, Any]) -> None:
        """Line up a message for ``flush``."""
        line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        if len(line) > MAX_MESSAGE_BYTES:
            raise SuiteError(f"a message of {len(line)} bytes is above {MAX_MESSAGE_BYTES}")
        self._outgoing += line

    def flush(self, fds: Sequence[int] = ()) -> bool:
        """Send what the socket takes now, with ``fds``; True if nothing is left to send."""
        while self._outgoing:
            chunk = bytes(self._outgoing[:_CHUNK_BYTES])
            try:
                sent = socket.send_fds(self._socket, [chunk], list(fds))
                fds = ()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                # Gone, but what it sent before may wait to be read: only reading tells.
                self._outgoing.clear()
                self.fill()
                self._ended = True
                return False
            del self._outgoing[:sent]
        return True

    def fill(self) -> bool:
        """Read what is there, at most 1 MiB; True if there was something."""
        try:
            chunk = self._socket.recv(_CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # reset by a peer that died, or closed by the target under our feet
            chunk = b""
        self._incoming += chunk
        self._ended = self._ended or not chunk
        return bool(chunk)

    def take(self) -> dict[str, Any] | None:
        """The next message that was read completely; ``ChannelClosed`` after the last."""
        end = self._incoming.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._incoming)
            if self._scanned > MAX_MESSAGE_BYTES:
                self._garbled(f"a message above {MAX_MESSAGE_BYTES} bytes")
            if self._ended:
                raise ChannelClosed("the other end closed the channel")
            return None
        line = bytes(self._incoming[:end])
        del self._incoming[: end + 1]
        self._scanned = 0
        try:
            message = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self._garbled(f"not JSON: {line[:80]!r} ({type(error).__name__})")
        if not isinstance(message, dict):
            self._garbled(f"not a JSON object: {line[:80]!r}")
        return message

    def _garbled(self, what: str) -> NoReturn:
        # Nothing after it can be trusted to be where it seems to be.
        self._incoming.clear()
        self._scanned = 0
        self._ended = True
        raise ChannelGarbled(what)

    def _wait(self, events: int, deadline: float | None) -> None:
        if self.fileno() < 0:
            raise ChannelClosed("this end of the channel is closed")
        poll = select.poll()
        poll.register(self._socket, events)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise ChannelTimeout("no answer in time")


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
