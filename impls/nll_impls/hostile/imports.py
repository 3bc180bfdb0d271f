"""Harm that is done when it is imported or loaded, in modules of their own."""

from __future__ import annotations

from nll_conformance.model import Hostile

from ._hostile import OTHERS, STATE, VALUES, Wanted, declared

_PLACE = f"{__name__.rpartition('.')[0]}._imported"


def _module(
    name: str,
    harm: str,
    outcome: Wanted,
    says: str,
    rules: tuple[str, ...] = (),
    others: tuple[str, ...] = OTHERS,
) -> Hostile:
    declaration = declared(f"hostile.imports.{name}", f"{_PLACE}.{name}:loss")
    return Hostile(declaration, harm, outcome, rules, says, others)


HOSTILE = (
    _module("hangs", "Its import never ends.", "refused", "no answer within"),
    _module("exits", "Its import ends the process.", "refused", "exit code 0"),
    _module("leaves", "Its import calls sys.exit(0).", "refused", "SystemExit: 0"),
    _module("interrupts", "Its import raises KeyboardInterrupt.", "refused", "KeyboardInterrupt"),
    _module("crashes", "Its import reads address 0.", "refused", "signal SIGSEGV"),
    _module("has_no_loss", "Looking its loss up raises.", "refused", "cannot be read"),
    _module(
        "replaces",
        "Its import replaces torch.equal and Tensor.abs.",
        "fail",
        "torch.equal",
        STATE,
        VALUES,
    ),
    _module(
        "hangs_at_the_end",
        "Its import leaves handlers and threads that keep a process from ending.",
        "fail",
        "expected",
        ("label_smoothing.rows",),
    ),
    _module(
        "once",
        "Its import ends the process the second time that it is tried.",
        "crash",
        "exit code 6",
        ("label_smoothing.rows",),
    ),
)
