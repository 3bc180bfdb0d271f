"""Everything at once, after every rule that varies one thing."""

from __future__ import annotations

from ..cases import any_reduction, mixed_upstream, one_of, vary
from ..classification import ignored, smoothed, soft, weighted
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..together import every_option, wide
from ._families import CLASSES

WEIGHTED = ("weight", weighted)
SMOOTHED = ("label_smoothing", smoothed())
SOFT = ("soft_target", soft)
IGNORED = ("ignore_minus_100", ignored())


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


@rule(
    "must",
    cases=vary(
        one_of(
            wide(WEIGHTED, SMOOTHED),
            wide(SOFT, SMOOTHED),
            wide(IGNORED, WEIGHTED),
            wide(SOFT, WEIGHTED, SMOOTHED),
            wide(IGNORED, SMOOTHED),
            wide(IGNORED, WEIGHTED, SMOOTHED),
        ),
        any_reduction,
        mixed_upstream,
    ),
    source="kernels treat rows wider than a block by another path",
    families=CLASSES,
    share=1.5,
)
def wide_rows(case: Case, call: Caller) -> Judgement:
    """Options mean in rows of hundreds of classes what they mean in narrow ones."""
    yield from agrees(call(case))
