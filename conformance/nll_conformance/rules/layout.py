"""Strides, offsets and alignment of every tensor."""

from __future__ import annotations

from .. import shown
from ..cases import any_reduction, laid_out, mixed_upstream, one_of, vary
from ..classification import masked, several_rows, spatial
from ..contract import rule
from ..judge import agrees
from ..model import Case, Judgement
from ..observe import Caller
from ..refusal import right_or_raises
from ..together import aligned_rows, any_option, every_layout, images, vocabulary_rows, wide_rows
from ._families import CLASSES

SOURCE = "strides and offset are part of a tensor"


@rule(
    "must",
    cases=vary(
        aligned_rows,
        laid_out("input", "transposed", "strided", "padded", "shifted", "expanded"),
        any_reduction,
    ),
    source=SOURCE,
    families=CLASSES,
)
def input(case: Case, call: Caller) -> Judgement:
    """Logits may be transposed, a slice of wider rows, every second element, unaligned."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            laid_out("input", "padded"),
            laid_out("input", "transposed"),
            laid_out("input", "shifted"),
            laid_out("input", "strided"),
        ),
        wide_rows,
        any_reduction,
        mixed_upstream,
    ),
    source=SOURCE,
    families=CLASSES,
    share=0.8,
)
def wide_input(case: Case, call: Caller) -> Judgement:
    """Wide rows, as those of vocabularies, are read by their strides as well."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, laid_out("target", "strided", "shifted", "expanded"), any_reduction),
    source=SOURCE,
    families=CLASSES,
)
def target(case: Case, call: Caller) -> Judgement:
    """Targets may be strided, offset, or one value expanded."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(
        one_of(
            laid_out("input", "transposed"),
            laid_out("input", "spaced"),
            laid_out("target", "expanded"),
            laid_out("input", "padded", "strided"),
            laid_out("target", "transposed", "padded", "spaced", "strided"),
        ),
        spatial,
        any_reduction,
    ),
    source=SOURCE + " (channels last)",
    needs=("spatial",),
    families=CLASSES,
)
def spatial_input(case: Case, call: Caller) -> Judgement:
    """Images may be stored with channels last, as slices, or transposed."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, laid_out("input", "far"), any_reduction),
    source="offsets beyond 2**31 elements (flash-attention c79de85f, onnxruntime#16363)",
    share=0.2,
    families=("cross_entropy", "nll", "prob_nll"),
)
def far_rows(case: Case, call: Caller) -> Judgement:
    """Rows that lie more than 2**31 elements apart are found: offsets are 64 bits wide."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, masked, laid_out("mask", "strided", "shifted"), any_reduction),
    source=SOURCE,
    needs=("mask",),
    families=CLASSES,
    share=0.5,
)
def mask(case: Case, call: Caller) -> Judgement:
    """A mask that is a strided or offset view is read by its strides."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(images, laid_out("input", "transposed"), any_reduction, mixed_upstream),
    source=SOURCE + ": torch.channels_last",
    needs=("spatial",),
    families=CLASSES,
    share=0.6,
)
def channels_last(case: Case, call: Caller) -> Judgement:
    """Images in torch.channels_last (rank 4) and channels_last_3d (rank 5) give the same."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(laid_out("input", "shifted"), vocabulary_rows, any_reduction, mixed_upstream),
    source=SOURCE + ": whole vectors are read from where they are aligned",
    families=CLASSES,
    share=0.3,
)
def unaligned_vocabulary(case: Case, call: Caller) -> Judgement:
    """Rows of a vocabulary that begin at no multiple of 16 bytes are read whole."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, laid_out("input", "negated"), any_reduction),
    source="torch.Tensor.is_neg: the sign of a view may be pending",
    # Those of which torch has complex numbers.
    dtypes=("float32", "float64"),
    share=0.2,
    shows=shown.RIGHT_OR_RAISES,
)
def lazily_negated(case: Case, call: Caller) -> Judgement:
    """An input whose memory holds the negated numbers (is_neg()) is read with its sign, or refused.

    The imaginary part of a conjugate is such a view.
    """
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(several_rows, laid_out("input", "windows"), any_reduction, mixed_upstream),
    source="torch.Tensor.unfold: windows share their memory without a stride of 0",
    families=tuple(name for name in CLASSES if name != "causal_cross_entropy"),  # in rank 2
    share=0.3,
)
def overlapping_rows(case: Case, call: Caller) -> Judgement:
    """Rows may overlap in memory, as windows do; each has a gradient of its own."""
    yield from agrees(call(case))


@rule("must", cases=vary(any_option, every_layout, any_reduction), source=SOURCE)
def every_tensor(case: Case, call: Caller) -> Judgement:
    """No tensor of the call need be contiguous, nor all be laid out alike."""
    yield from agrees(call(case))
