"""Sentences about the head in front of the loss, its bias, and the three gradients."""

from __future__ import annotations

from ... import shown
from ...cases import any_reduction, mixed_upstream, one_of, scalar_upstream, unreduced, vary
from ...classification import (
    few_masses,
    full_blocks,
    ignored_run,
    odd_rows,
    several_rows,
    smoothed,
    soft,
)
from ...contract import rule
from ...judge import agrees, gradients_agree
from ...model import Case, Judgement
from ...observe import Caller
from ...refusal import raises, right_or_raises
from ...second import curvature_agrees
from ...together import maybe_an_option, maybe_shared_out
from . import judges
from . import variations as v

SOURCE = "torch.nn.functional.linear_cross_entropy: linear, then cross_entropy"
GRADIENT = ("gradient",)
BIAS = ("linear_bias",)
BOTH = ("linear_bias", "gradient")
EACH = "torch.autograd: a gradient for each tensor that requires one"


@rule(
    "must",
    cases=vary(one_of(several_rows, few_masses), unreduced, mixed_upstream),
    source=SOURCE,
    needs=GRADIENT,
)
def head_gradient(case: Case, call: Caller) -> Judgement:
    """The head's gradient is the sum over rows of (p - onehot) h, each row by its upstream."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(v.rows_or_one, v.biased, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=BIAS,
)
def bias(case: Case, call: Caller) -> Judgement:
    """The bias is added to every logit exactly once; its gradient is the sum of p - onehot."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.wide, v.maybe_biased, any_reduction),
    source="apple/ml-cross-entropy#52: the bias was added once for each block of H",
)
def wide_hidden_states(case: Case, call: Caller) -> Judgement:
    """Hidden states of any width, block edges and 1 included, give the exact logits."""
    yield from agrees(call(case))


@rule("must", cases=vary(v.cube, v.maybe_biased, any_reduction), source=SOURCE)
def cubic(case: Case, call: Caller) -> Judgement:
    """Rows, classes and hidden size are told apart by position, not by size."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(one_of(odd_rows, full_blocks), v.maybe_biased, any_reduction, mixed_upstream),
    source="a loss computed in chunks of rows is still one loss",
)
def chunks_of_rows(case: Case, call: Caller) -> Judgement:
    """All gradients sum over every chunk of rows, the ragged last one too, bias included."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.maybe_biased, maybe_shared_out, unreduced, mixed_upstream),
    source="torch.nn.functional.linear_cross_entropy: linear_weight (C, d1, ..., dK, in_features)",
    needs=("gradient", "reduction_none"),
    share=0.4,
    revision=2,
    shows=judges.HEADS_SHOWN,
)
def heads(case: Case, call: Caller) -> Judgement:
    """A head for each of several positions, (C, d, H), is right at each of them, or refused."""
    yield from judges.heads(case, call)


@rule(
    "must",
    cases=vary(ignored_run, v.maybe_biased, any_reduction),
    source=SOURCE,
    needs=("ignore_minus_100",),
)
def ignored_chunks(case: Case, call: Caller) -> Judgement:
    """Ignored rows, whole chunks of them, add nothing to the gradients of head and bias."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(v.same_sign, v.maybe_biased),
    source="fla-org/flash-linear-attention#874; linkedin/Liger-Kernel#830",
    needs=GRADIENT,
    share=0.5,
)
def many_rows_of_one_sign(case: Case, call: Caller) -> Judgement:
    """The gradients of head and bias grow with the rows: 16 bits saturate, float32 does not."""
    yield from gradients_agree(call(case))


@rule(
    "must",
    cases=vary(
        several_rows,
        maybe_an_option,
        v.maybe_biased,
        v.frozen("input"),
        any_reduction,
        scalar_upstream,
    ),
    source=EACH,
    needs=GRADIENT,
    shows=shown.ONLY_ASKED,
)
def frozen_hidden_states(case: Case, call: Caller) -> Judgement:
    """Where the hidden states require no gradient, head and bias still get theirs."""
    yield from judges.only_asked(case, call)


@rule(
    "must",
    cases=vary(
        several_rows, maybe_an_option, v.maybe_biased, v.frozen("linear_weight"), any_reduction
    ),
    source=EACH,
    needs=GRADIENT,
    shows=shown.ONLY_ASKED,
)
def frozen_head(case: Case, call: Caller) -> Judgement:
    """A head that requires no gradient gets none, hidden states and bias get theirs."""
    yield from judges.only_asked(case, call)


@rule(
    "must",
    cases=vary(several_rows, v.biased, v.frozen("input", "linear_weight"), any_reduction),
    source=EACH,
    needs=BOTH,
    shows=shown.ONLY_ASKED,
)
def only_the_bias(case: Case, call: Caller) -> Judgement:
    """Where the bias alone requires a gradient it gets it."""
    yield from judges.only_asked(case, call)


@rule(
    "must",
    cases=vary(several_rows, v.biased, v.frozen("linear_bias"), any_reduction),
    source=EACH,
    needs=BOTH,
    shows=shown.ONLY_ASKED,
)
def frozen_bias(case: Case, call: Caller) -> Judgement:
    """A bias that requires no gradient still counts in the loss and in the other gradients."""
    yield from judges.only_asked(case, call)


@rule(
    "must",
    cases=vary(several_rows, v.biased, smoothed(), any_reduction),
    source=SOURCE,
    needs=("linear_bias", "label_smoothing"),
)
def bias_with_smoothing(case: Case, call: Caller) -> Judgement:
    """The smoothed share of every class sees its bias, too."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.biased, soft, v.maybe_smoothed, any_reduction),
    source=SOURCE,
    needs=("linear_bias", "soft_target"),
    share=0.6,
)
def bias_with_probabilities(case: Case, call: Caller) -> Judgement:
    """Under class probabilities every class's logit has its bias."""
    yield from agrees(call(case))


@rule("must", cases=vary(several_rows, v.huge_bias, any_reduction), source=SOURCE, needs=BIAS)
def huge_biases(case: Case, call: Caller) -> Judgement:
    """A bias far above the product leaves loss and gradients finite and exact."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.excluding_bias, any_reduction),
    source="a class at -inf has probability 0 (padded vocabularies)",
    needs=BIAS,
)
def excluded_by_bias(case: Case, call: Caller) -> Judgement:
    """A bias of -inf takes its class out: probability and gradient 0, nothing else changes."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.biased, v.head_layouts, any_reduction),
    source="strides and offset are part of a tensor (tied and sliced embeddings)",
    needs=BIAS,
)
def layouts(case: Case, call: Caller) -> Judgement:
    """Head and bias may be transposed, slices of larger ones, every second element."""
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(several_rows, v.other_dtype, any_reduction),
    source="a result that is returned is right",
    dtypes=("float32", "bfloat16", "float16"),
    share=0.6,
    shows=shown.RIGHT_OR_RAISES,
)
def head_of_other_dtype(case: Case, call: Caller) -> Judgement:
    """A head in a wider dtype than the hidden states gives the right result, or is refused."""
    yield from right_or_raises(case, call)


@rule(
    "must",
    cases=vary(one_of(odd_rows, several_rows), v.all_options, any_reduction, mixed_upstream),
    source="every option may be combined with every other",
)
def every_option(case: Case, call: Caller) -> Judgement:
    """Bias, weights, ignored rows and smoothing go together."""
    yield from agrees(call(case))


@rule(
    "should", cases=vary(several_rows, v.wrong_size), source=SOURCE, share=0.5, shows=shown.RAISES
)
def sizes(case: Case, call: Caller) -> Judgement:
    """A head of another width or a bias of another size raises; one entry is not broadcast."""
    yield from raises(case, call, "a head or bias of the wrong size")


@rule(
    "must",
    cases=vary(several_rows, v.few_bits, any_reduction),
    source="torch.amp; linkedin/Liger-Kernel#305, #501: no bias, float32 parameters",
    shows=shown.AUTOCAST,
)
def autocast(case: Case, call: Caller) -> Judgement:
    """Under autocast the loss works, with and without bias, as on operands cast to bfloat16."""
    yield from judges.under_autocast(case, call)


@rule(
    "must",
    cases=vary(several_rows, v.maybe_biased, any_reduction),
    source="torch.autograd.grad",
    needs=GRADIENT,
    share=0.6,
    shows=judges.ONE_GRADIENT_AT_A_TIME_SHOWN,
)
def one_gradient_at_a_time(case: Case, call: Caller) -> Judgement:
    """Asking autograd for one gradient alone gives that one, not another's."""
    yield from judges.one_gradient_at_a_time(case, call)


@rule(
    "must",
    cases=vary(v.cube, any_reduction),
    source="tied and contrastive losses: a tensor may be hidden states and head at once",
    needs=GRADIENT,
    share=0.6,
    shows=judges.TIED_SHOWN,
)
def tied(case: Case, call: Caller) -> Judgement:
    """One tensor given as hidden states and head gets the sum of both gradients."""
    yield from judges.tied(case, call)


@rule(
    "must",
    cases=vary(several_rows, any_reduction),
    source="torch.autograd: saved tensors are version checked",
    needs=GRADIENT,
    share=0.5,
    shows=judges.HEAD_CHANGED_BEFORE_BACKWARD_SHOWN,
)
def head_changed_before_backward(case: Case, call: Caller) -> Judgement:
    """A head changed in place before backward gives the old gradient or an error."""
    yield from judges.changed_before_backward(case, call)


@rule(
    "must",
    cases=vary(several_rows, v.biased, any_reduction),
    source="a loss is a function of its arguments",
    needs=BIAS,
    share=0.5,
    shows=shown.INPUTS_KEPT,
)
def arguments_unchanged(case: Case, call: Caller) -> Judgement:
    """Hidden states, head, bias and targets are the same after forward and backward."""
    yield from judges.unchanged(case, call)


@rule(
    "must",
    cases=vary(v.many_rows_few_entries, any_reduction),
    source="unslothai/unsloth-zoo#857: the number of chunks had come to 1",
    needs=("chunked",),
    share=0.3,
    shows=judges.LOGITS_NEVER_WHOLE_SHOWN,
)
def logits_never_whole(case: Case, call: Caller) -> Judgement:
    """Who promises `chunked` makes no tensor half as large as the logits, forward or backward."""
    yield from judges.logits_never_whole(case, call)


@rule(
    "must",
    cases=vary(any_reduction, scalar_upstream),
    source="torch.autograd: double backward",
    needs=("gradient", "double_backward"),
    share=0.5,
    dtypes=("float64", "float32"),
    shows=shown.SECOND_ORDER,
)
def second_order(case: Case, call: Caller) -> Judgement:
    """A second derivative in the hidden states is that of the gradient, or refused; never zero."""
    yield from judges.curvature(case, call)


@rule(
    "must",
    cases=vary(v.maybe_biased, any_reduction, scalar_upstream),
    source="torch.autograd: double backward of all inputs",
    needs=("gradient", "double_backward"),
    share=0.5,
    dtypes=("float64", "float32"),
    shows=shown.SECOND_ORDER_EVERYWHERE,
)
def second_order_everywhere(case: Case, call: Caller) -> Judgement:
    """Second derivatives in head and bias, mixed ones too, are right, or refused; never zero."""
    yield from curvature_agrees(case, call, everywhere=True, cancelling=True)


@rule(
    "should",
    cases=vary(v.maybe_biased, any_reduction, scalar_upstream),
    source="torch.autograd: double backward",
    needs=("gradient", "double_backward"),
    share=0.3,
    dtypes=("float64", "float32"),
    shows=shown.PENALTY,
)
def second_order_penalty(case: Case, call: Caller) -> Judgement:
    """A gradient in a penalty, beside other terms, has its second derivative, or is refused."""
    yield from curvature_agrees(case, call, penalty=True, cancelling=True)
