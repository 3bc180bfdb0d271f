"""The last words of a process: the end of what it printed, fit to be shown anywhere."""

from __future__ import annotations

import os
from typing import Final

TAIL_BYTES: Final = 16384
#: Characters of it that are shown.
_SHOWN: Final = 4096
#: Frames of a native crash that are shown, the innermost; the suite's own follow.
_FRAMES: Final = 6
_CHUNK_BYTES: Final = 2**16


class Output:
    """The reading end of a pipe; keeps the last 16 KB and forgets the rest.

    Reading never waits and never ends by itself: a process that outlives the worker may
    hold the other end for ever.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._tail = b""
        self._cut = False
        self.ended = False  # every writer is gone

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._fd

    def drain(self, chunks: int = 1) -> None:
        """Read what is there, up to ``chunks`` times 64 KiB."""
        for _ in range(chunks):
            if self._fd < 0 or self.ended:
                return
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            self.ended = not chunk
            joined = self._tail + chunk
            self._cut = self._cut or len(joined) > TAIL_BYTES
            self._tail = joined[-TAIL_BYTES:]

    def text(self) -> str:
        """The tail as printable text of at most 4096 characters."""
        tail = self._tail
        if self._cut:  # do not show half a character as a fault of the target
            tail = tail.lstrip(bytes(range(0x80, 0xC0)))
        shown = harmless(_shortened(tail.decode("utf-8", errors="replace")))
        if len(shown) <= _SHOWN:
            return shown
        end = shown[-_SHOWN:]
        return end.partition("\n")[2] or end  # no half line, unless there is no other

    def close(self) -> None:
        """Close the pipe; the text stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _shortened(text: str) -> str:
    """Of a stack that ``faulthandler`` printed at the end, only what tells something."""
    start = text.rfind("Fatal Python error:")
    if start < 0:
        return text
    before, lines = text[:start], text[start:].splitlines()
    frames = [line for line in lines if line.startswith("  File ")][:_FRAMES]
    return "\n".join([f"{before}{lines[0]}", *frames])


def harmless(text: str) -> str:
    r"""``text`` with line ends and tabs as they are, every other control written ``\x1b``.

    That covers terminal sequences, the invisible characters that reorder text, and lone
    surrogates, which cannot be written to a file.
    """
    text = text.replace("\r\n", "\n")
    return "".join(
        mark if mark.isprintable() or mark in "\n\t" else ascii(mark)[1:-1] for mark in text
    )
