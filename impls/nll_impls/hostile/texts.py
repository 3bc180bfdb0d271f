"""What it prints and says is endless, unreadable, or pretends to be the suite's."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, NoReturn

import torch

from ._hostile import Call, always, hostile

EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m<script>alert(1)</script> ]]> <failure/> | `x` [a](http://x) "
    "\u202e\u2066\ud800 ![](x) ::set-output name=x::y\r\n"
)
FORGED = (
    '{"kind": "result", "outcome": "pass", "answer": {"outcome": "pass"}, "token": "",'
    ' "case": null}\n'
)


@hostile("timeout", "no answer")
def prints_forever(call: Call) -> None:
    """Writes to standard output without end."""
    while True:
        os.write(1, b"\x1b[31mred \xff\xe2\x80\xae\n" * 1000)


@hostile("timeout", "no answer")
def complains_forever(call: Call) -> None:
    """Prints to standard error without end."""
    while True:
        sys.stderr.write("complaint" * 1000)


@hostile("crash", "exit code 3")
def last_words_of_a_megabyte(call: Call) -> None:
    """Prints a megabyte of invalid UTF-8 and control sequences, then dies."""
    os.write(1, b"\xff\xfe\x1b[2J\x00" * 2**18)
    os._exit(3)


@hostile("fail", "RuntimeError")
def message_of_megabytes(call: Call) -> None:
    """Raises an exception whose message has 50 MB."""
    raise RuntimeError("x" * 50_000_000)


@hostile("fail", "RuntimeError")
def message_of_lines(call: Call) -> None:
    """Raises an exception whose message has a million lines."""
    raise RuntimeError("line\n" * 1_000_000)


@hostile("fail", "RuntimeError")
def evil_message(call: Call) -> None:
    """Raises an exception full of control sequences, markup and lone surrogates."""
    raise RuntimeError(EVIL)


@hostile("fail", "its message cannot be read")
def message_that_raises(call: Call) -> None:
    """Raises an exception whose message raises in its turn."""

    class Worse(Exception):
        def __str__(self) -> str:
            raise SystemExit(0)

        __repr__ = __str__

    raise Worse


@hostile("fail", "its message cannot be read")
def message_that_is_no_text(call: Call) -> None:
    """Raises an exception whose message is a number."""
    number: Any = 5

    class Odd(Exception):
        def __str__(self) -> Any:
            return number

    raise Odd


@hostile("fail", "Liar: right")
def message_of_a_class_of_its_own(call: Call) -> None:
    """Raises an exception whose message is a text that lies about itself."""

    class Text(str):
        __slots__ = ()

        def __getitem__(self, _: Any) -> Any:
            raise SystemExit(0)

        def splitlines(self, keepends: bool = False) -> list[str]:
            os._exit(0)

    class Liar(Exception):
        def __str__(self) -> str:
            return Text("right")

    raise Liar


@hostile("fail", "xxxxxx")
def name_of_megabytes(call: Call) -> None:
    """Raises an exception whose class has a name of a megabyte."""
    raise type("x" * 2**20, (Exception,), {})


@hostile("fail", "<b>\\x1b[31m")
def evil_name(call: Call) -> None:
    """Raises an exception whose class has markup and control sequences in its name."""
    raise type("<b>\x1b[31m", (BaseException,), {})


@hostile("fail", "not a floating tensor")
def result_that_cannot_be_shown(call: Call) -> Any:
    """Returns something whose text and class raise."""

    def shy(_: object) -> NoReturn:
        raise SystemExit(0)

    return type("Shy", (), {"__repr__": shy, "__class__": property(shy)})()


@hostile("refused", "its message cannot be read", when=always)
def raises_in_del(call: Call) -> None:
    """Raises an exception that has a cause like itself and raises again when it is deleted."""

    class Sticky(Exception):
        def __str__(self) -> str:
            raise self

        def __del__(self) -> None:
            raise RuntimeError(EVIL)

    raise Sticky from Sticky()


@hostile("fail", "expected")
def forged_lines_on_standard_output(call: Call) -> torch.Tensor:
    """Returns a wrong loss and prints lines of the suite that say it is right."""
    sys.stdout.write(FORGED * 3)
    sys.stderr.write(FORGED * 3)
    return call.loss() * 2


@hostile("crash", "wrote to the channel of the suite")
def forged_lines_everywhere(call: Call) -> None:
    """Writes lines that look like the suite's into every open descriptor."""
    for fd in range(3, 1024):
        try:
            os.write(fd, FORGED.encode())
        except OSError:
            continue


@hostile("crash", "not JSON")
def garbage_everywhere(call: Call) -> None:
    """Writes garbage into every open descriptor."""
    for fd in range(3, 1024):
        try:
            os.write(fd, b"\xff\n\x00garbage\n")
        except OSError:
            continue


@hostile("fail", "expected")
def warns_without_end(call: Call) -> torch.Tensor:
    """Returns a wrong loss and warns a thousand times, with a message that cannot be read."""
    readable = True

    class Unreadable(UserWarning):
        def __str__(self) -> str:
            if not readable:
                raise SystemExit(0)
            return EVIL

    for _ in range(1000):
        warnings.warn(Unreadable(EVIL), stacklevel=1)
    readable = False
    return call.loss() * 2
