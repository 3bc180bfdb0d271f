"""Judges of calls that a loss may refuse, or has to."""

from __future__ import annotations

from .errors import TargetRaised
from .judge import agrees
from .model import Case, Finding, Judgement, Measured
from .observe import Caller


def right_or_raises(case: Case, call: Caller) -> Judgement:
    """The result is right, or the call is refused."""
    seen = call.attempt(case)
    if isinstance(seen, TargetRaised):
        yield Measured()
    else:
        yield from agrees(seen)


def raises(case: Case, call: Caller, what: str) -> Judgement:
    """The call is refused; ``what`` names what is wrong with it."""
    seen = call.attempt(case)
    yield Measured()
    if not isinstance(seen, TargetRaised):
        got = seen.value.detach().flatten()[:3].tolist()
        yield Finding(
            f"{what} was accepted and gave {got}; an exception was expected",
            got=str(got),
            want="an exception",
            kind="accepted",
        )


def refused_cleanly(case: Case, call: Caller) -> Judgement:
    """A call that is refused leaves the process as it was."""
    seen = call.attempt(case)
    yield Measured()
    if isinstance(seen, TargetRaised) and call.changed:
        changed = ", ".join(dict.fromkeys(call.changed))
        yield Finding(f"a call that was refused left changed: {changed}", kind="state")
