"""A file that one run at a time appends complete lines to."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import Self

from .errors import UsageError

if sys.platform != "win32":  # which has no advisory locks to take
    import fcntl


class LockedFile:
    """An open file, locked against other runs, that never keeps half a line.

    The lock is on the file itself, so that it goes with the process, however that ends.
    Raises UsageError where the file cannot be opened, locked or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | (os.O_CREAT if create else 0)
        try:
            self._number = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise self._unwritable(error) from None
        # a pipe or device can be written, but neither locked nor cut
        self._regular = stat.S_ISREG(os.fstat(self._number).st_mode)
        self._end = 0
        if self._regular:
            self._lock()

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"cannot write results to {self.path}: another run is writing that file. "
                "Name another."
            ) from None
        except OSError:  # a file system without locks: better unlocked than not at all
            pass

    def cut(self, end: int) -> None:
        """Drop what follows the first ``end`` bytes and go on there."""
        if self._regular:
            os.ftruncate(self._number, end)
            os.lseek(self._number, end, os.SEEK_SET)
        self._end = end

    def append(self, data: bytes) -> None:
        """Write ``data``, all of it or nothing."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._number, data[done:])
            self._end += done
        except BaseException as error:  # an interrupt must not leave half a line either
            with contextlib.suppress(OSError):
                self.cut(self._end)
            if isinstance(error, OSError):
                raise self._unwritable(error) from None
            raise

    def sync(self) -> None:
        """Return once the disk has it."""
        if not self._regular:
            return
        try:
            os.fsync(self._number)
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Release the file and its lock."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unwritable(self, error: OSError) -> UsageError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kept = " The results before stay in the file." if full else ""
        reason = error.strerror or type(error).__name__
        return UsageError(f"cannot write results to {self.path}: {reason}.{kept}")
