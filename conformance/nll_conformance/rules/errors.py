"""Bad input raises; it does not give a number."""

from __future__ import annotations

from .. import shown
from ..cases import (
    Draft,
    Draw,
    Variation,
    all_of,
    any_reduction,
    forward_only,
    one_of,
    option,
    unchanged,
    vary,
)
from ..classification import several_rows, smoothed, soft, unbatched, weighted
from ..contract import rule
from ..model import Case, Judgement
from ..observe import Caller
from ..refusal import raises, refused_cleanly
from ..together import several_or_spatial
from ._families import CLASSES

SOURCE = "torch.nn.functional.cross_entropy on CPU"


def _target_value(draft: Draft, draw: Draw) -> None:
    values = [draft.classes, -1, draft.classes + 1, -2, 2**32, 2**31, 2**32 + 1, 10**9]
    if draft.can("ignore_index"):  # what is ignored by default is no target otherwise
        values.insert(3, -100)
    fixed = draft.context.fixed.get("ignore_index")
    value = draw.among([value for value in values if value != fixed])
    if value == -100:
        draft.options["ignore_index"] = -1
    *rest, last = draft.rows
    # the first label of a sequence is not scored, and need not be looked at
    first = 1 if rest and last > 1 else 0
    place = (*(draw.integer(0, size - 1) for size in rest), draw.integer(first, last - 1))
    draft.edit("target", (place, float(value)))


def _hard_rows(draft: Draft, draw: Draw) -> None:
    """Rows or images, with an option that leaves the targets indices, or none."""
    several_or_spatial(draft, draw)
    ways: list[tuple[str, Variation]] = [("weight", weighted), ("label_smoothing", smoothed())]
    possible = [way for need, way in ways if draft.can(need)]
    draw.among([unchanged, unchanged, *possible])(draft, draw)


def _target_shape(draft: Draft, draw: Draw) -> None:
    if draft.can("unbatched") and draw.integer(0, 2) == 1:
        unbatched(draft, draw)
        draft.change("target", shape=(draw.integer(2, 3),))
        return
    if draw.integer(0, 4) == 4:  # logits of one row are not there for all targets
        draft.resize((1,), draft.classes)
        draft.change("target", shape=(draw.integer(2, 3),))
        return
    if draft.can("spatial") and draw.integer(0, 4) == 4:
        draft.resize((2, 3, 4), draft.classes)
        draft.change("target", shape=draw.among(((2, 6, 8), (2, 4, 3), (2, 3, 5), (2, 2, 4))))
        return
    rows = draft.rows[0]
    shapes = ((rows + 1,), (rows, 1), (1,), (rows, 1, 2), (rows - 1,), (1, rows))
    draft.change("target", shape=draw.among(shapes))


def _soft_shape(draft: Draft, draw: Draw) -> None:
    rows, classes = draft.rows[0], draft.classes
    shapes = ((1, classes), (rows, 1), (rows + 1, classes), (rows, classes + 1), (1, 1))
    draft.change("target", shape=draw.among(shapes))


def _float_target(draft: Draft, draw: Draw) -> None:
    draft.change("target", dtype=draw.among(("float32", "float64")))


def _weight_size(draft: Draft, draw: Draw) -> None:
    weighted(draft, draw)
    classes = draft.classes
    sizes = ((classes + 1,), (1,), (classes - 1,), (classes + 2,), (classes, 1), (1, classes))
    draft.change("weight", shape=draw.among(sizes))


@rule(
    "should",
    cases=vary(_hard_rows, _target_value, any_reduction, forward_only),
    source=SOURCE,
    families=CLASSES,
    share=0.5,
    shows=shown.RAISES,
)
def target_out_of_range(case: Case, call: Caller) -> Judgement:
    """A target outside [0, C) that is not ignore_index raises."""
    yield from raises(case, call, "a target outside [0, C)")


@rule(
    "should",
    cases=vary(several_rows, _target_shape, forward_only),
    source=SOURCE + "; pytorch#722",
    families=CLASSES,
    revision=2,
    shows=shown.RAISES,
)
def target_shape(case: Case, call: Caller) -> Judgement:
    """A target of another shape than the input's rows raises."""
    yield from raises(case, call, "a target of the wrong shape")


@rule(
    "should",
    cases=vary(several_rows, soft, _soft_shape, forward_only),
    source=SOURCE,
    needs=("soft_target",),
    families=("cross_entropy",),
    share=0.4,
    shows=shown.RAISES,
)
def soft_target_shape(case: Case, call: Caller) -> Judgement:
    """Class probabilities of another shape than the input raise: none are broadcast."""
    yield from raises(case, call, "class probabilities of the wrong shape")


@rule(
    "should",
    cases=vary(several_rows, _float_target, forward_only),
    source=SOURCE,
    families=CLASSES,
    share=0.3,
    shows=shown.RAISES,
)
def float_indices(case: Case, call: Caller) -> Judgement:
    """Class indices as floating-point numbers raise."""
    yield from raises(case, call, "a floating-point target of shape (N,)")


@rule(
    "should",
    cases=vary(several_rows, _weight_size, forward_only),
    source=SOURCE,
    needs=("weight",),
    families=CLASSES,
    share=0.5,
    shows=shown.RAISES,
)
def weight_size(case: Case, call: Caller) -> Judgement:
    """A weight that has not C entries raises."""
    yield from raises(case, call, "a weight of the wrong size")


@rule(
    "should",
    cases=vary(option("reduction", "average", "Mean", "batchmean", ""), forward_only),
    source=SOURCE,
    needs=("reduction_none",),
    share=0.3,
    shows=shown.RAISES,
)
def reduction_name(case: Case, call: Caller) -> Judgement:
    """An unknown reduction raises and is not taken for another one."""
    yield from raises(case, call, f"reduction={case.option('reduction')!r}")


@rule(
    "should",
    cases=vary(option("label_smoothing", -0.1, 1.5, 2.0, -1.0), forward_only),
    source='torch.nn.CrossEntropyLoss: "label_smoothing: a float in [0.0, 1.0]"',
    needs=("label_smoothing",),
    families=CLASSES,
    share=0.3,
    shows=shown.RAISES,
)
def smoothing_range(case: Case, call: Caller) -> Judgement:
    """A label smoothing outside [0, 1] raises."""
    yield from raises(case, call, f"label_smoothing={case.option('label_smoothing')}")


def _ignored_probabilities(draft: Draft, draw: Draw) -> None:
    soft(draft, draw)
    draft.options["ignore_index"] = draw.integer(0, draft.classes - 1)


@rule(
    "should",
    cases=vary(several_rows, _ignored_probabilities, any_reduction, forward_only),
    source="torch.nn.functional.cross_entropy refuses an ignore_index >= 0 beside probabilities",
    needs=("soft_target", "ignore_index"),
    families=CLASSES,
    share=0.2,
    shows=shown.RAISES,
)
def ignored_probabilities(case: Case, call: Caller) -> Judgement:
    """A class to ignore beside class probabilities raises: it could have no effect."""
    yield from raises(case, call, "an ignore_index beside class probabilities")


@rule(
    "must",
    cases=vary(
        one_of(
            all_of(several_rows, _target_value),
            all_of(several_rows, _target_shape),
            all_of(several_rows, _float_target),
            option("reduction", "average"),
        ),
        forward_only,
    ),
    source="an exception that is caught leaves no trace",
    families=CLASSES,
    share=0.4,
    shows=shown.REFUSED_CLEANLY,
)
def leaves_no_trace(case: Case, call: Caller) -> Judgement:
    """A call that raises leaves grad mode, default dtype and the like as they were."""
    yield from refused_cleanly(case, call)
