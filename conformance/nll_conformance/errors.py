"""What can go wrong around a run, in the order in which a run meets it.

A command line that cannot be understood, or a target that cannot be loaded or called, is
the user's to mend: ``UsageError``, exit 2, one sentence and a hint.  A call into the loss
under test that raises is an observation: ``TargetRaised`` carries it to the rule.
Everything else that escapes is a bug of the suite, ``SuiteError`` or a bare exception, exit 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Something the caller gave is wrong; the message names it, the choices and the hint."""


class SuiteError(Exception):
    """The suite itself is wrong; never the fault of the loss under test."""


class TargetRaised(Exception):
    """The loss under test raised ``error`` while doing ``during`` (call, backward, ...)."""

    def __init__(self, error: BaseException, during: str) -> None:
        super().__init__(f"{during} raised")
        self.error = error
        self.during = during


#: Of more choices than these a message names only the nearest.
MOST_NAMED = 60
#: What ``nll-conformance list`` lists, and how it calls it.
LISTED = {"rule": "rules", "implementation": "implementations"}


def unknown(what: str, given: str, choices: Iterable[str]) -> UsageError:
    """The error for a name that is none of ``choices``, with the nearest one."""
    known = sorted(choices)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    text = ", ".join(known)
    if len(known) > MOST_NAMED:
        like = difflib.get_close_matches(given, known, n=12, cutoff=0.0)
        where = f"; nll-conformance list {LISTED[what]}" if what in LISTED else ""
        text = f"{', '.join(sorted(like))} ({len(like)} of {len(known)}{where})"
    return UsageError(f"unknown {what} {given!r}.{hint} Valid: {text}.")
