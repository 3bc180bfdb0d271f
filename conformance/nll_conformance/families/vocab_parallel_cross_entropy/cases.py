"""The plain call: cross entropy's, its classes split over two ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F

from ...cases import Context, Draft, Draw, Probe
from ...classification import fit, smoothed
from ...model import Case, Observation
from ..cross_entropy import cases as cross_entropy
from .shards import fitting

RANKS = 2


class Split(Draft):
    """A draft whose losses come back once for each rank, stacked in front."""

    @property
    def ranks(self) -> int:
        """How many ranks share the classes."""
        return int({**self.options, **self.context.fixed}.get("ranks") or RANKS)

    def case(self) -> Case:
        """The finished case, at each of whose losses the same upstream gradient arrives."""
        case = super().case()
        if case.upstream is None:
            return case
        upstream = replace(
            case.upstream,
            shape=(self.ranks, *case.upstream.shape),
            edits=tuple(((None, *index), value) for index, value in case.upstream.edits),
            layout="expanded",
        )
        return replace(case, upstream=upstream)


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with scattered logits and every class as a possible target."""
    draft = cross_entropy.plain(context, draw)
    split = Split(context, draft.tensors, draft.rows, fit_shards, draft.classes)
    fit_shards(split)
    return split


def fit_shards(draft: Draft) -> None:
    """As many classes as the subject can split over its ranks, at least those asked for."""
    assert isinstance(draft, Split)
    uneven, empty = draft.can("uneven_shards"), draft.can("empty_shards")
    draft.classes = fitting(draft.classes, draft.ranks, uneven=uneven, empty=empty)
    fit(draft)


def _first(
    classify: Callable[[Observation], str | None],
) -> Callable[[Observation], str | None]:
    """What a probe of the unsplit loss says of the first rank's."""
    return lambda seen: classify(replace(seen, value=seen.value[:1]))


def _smoothed_over(seen: Observation) -> str | None:
    """Over which classes the smoothing mass went, if in one of the legal ways."""
    x, t = (seen.arguments[name].detach() for name in ("input", "target"))
    classes, smoothing = x.shape[1], float(seen.case.option("label_smoothing"))
    value = float(seen.value.flatten()[0])
    for word, amount in (("all", smoothing), ("others", smoothing * classes / (classes - 1))):
        row = F.cross_entropy(x.double(), t) * (1 - amount)
        if abs(float(row - amount * x.double().log_softmax(1).mean()) - value) < 1e-3:
            return word
    return None


#: How the divergences show: as cross entropy's, on the first rank.
PROBES: dict[str, Probe] = {
    **{
        name: (needs, dtype, variations, _first(classify))
        for name, (needs, dtype, variations, classify) in cross_entropy.PROBES.items()
    },
    "smoothed_over": (
        frozenset({"label_smoothing"}), "float32", (smoothed(0.5),), _smoothed_over
    ),
}  # fmt: skip
