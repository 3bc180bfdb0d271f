"""Foreign text made safe to show: bounded, no control sequences, one line where it must be.

Messages and reprs of a loss under test may be megabytes, invalid UTF-8, terminal control
sequences or forged lines of ours.  Everything that a renderer shows passes through here;
escaping for HTML, XML or Markdown comes on top, in the renderer that needs it.
"""

from __future__ import annotations

import re
import shlex
import textwrap
import unicodedata
from collections.abc import Iterable

#: Characters of a message that are kept where the caller names no limit.
LIMIT = 2000
#: Control, format (bidirectional overrides, zero width), surrogate, private use,
#: unassigned, line and paragraph separators.
_HARMFUL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    if unicodedata.category(char) not in _HARMFUL:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def harmless(text: str | bytes, limit: int = LIMIT) -> str:
    """``text`` with at most ``limit`` characters and nothing that a terminal would obey.

    Newlines and tabs stay, a CR LF becomes a newline; other control characters, invalid
    UTF-8 and invisible format characters are shown as escapes.  A text that was cut ends
    with its length.  Applying it twice changes nothing more.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    length = len(text)
    shown = _SUSPECT.sub(_escape, text[: limit + 1].replace("\r\n", "\n"))
    if len(shown) <= limit:
        return shown
    note = f" ...({length} characters)"
    return (shown[: max(limit - len(note), 0)] + note)[:limit]


def one_line(text: str | bytes, limit: int = LIMIT) -> str:
    """:func:`harmless` on a single line: newlines and tabs are shown as escapes too."""
    shown = harmless(text, limit).strip()
    shown = re.sub(r"[\n\r\t]", lambda match: _NAMED[match.group()], shown)
    return shown if len(shown) <= limit else harmless(shown, limit)


def ending(name: str, limit: int) -> str:
    """The end of a long name on one line: of a path with a function, that tells them apart."""
    shown = one_line(name)
    return shown if len(shown) <= limit else f"...{shown[3 - limit :]}"


def labelled(label: str, text: str, width: int = 80, indent: int = 12) -> list[str]:
    """``text`` after ``label``, wrapped at words; further lines start under the text."""
    first = f"  {label}".ljust(indent) if label else " " * indent
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def named(names: Iterable[str], limit: int = 4) -> str:
    """The first names, separated by commas, and how many more there are."""
    known = list(names)
    shown = ", ".join(one_line(name, 80) for name in known[:limit])
    return shown if len(known) <= limit else f"{shown} and {len(known) - limit} more"


def counted(number: int, noun: str) -> str:
    """``1 rule`` or ``2 rules``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shell(*words: str) -> str:
    """A command line that can be pasted, whatever the words contain."""
    return " ".join(shlex.quote(one_line(word, 500)) for word in words)
