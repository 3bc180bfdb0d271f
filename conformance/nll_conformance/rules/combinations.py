"""Everything at once, after every rule that varies one thing."""

from __future__ import annotations

from ..cases import vary
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..together import every_option
from ._families import CLASSES


@rule(
    "must",
    cases=vary(every_option),
    source="every option of the call may be combined with every other",
    families=CLASSES,
    share=3.0,
)
def all_options(case: Case, call: Caller) -> Judgement:
    """All options together, on any shape and layout, give the exact loss and gradient."""
    yield from agrees(call(case))
