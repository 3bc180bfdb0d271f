"""Groups of families that share a part of the contract."""

LOGITS = (
    "cross_entropy",
    "linear_cross_entropy",
    "causal_cross_entropy",
    "vocab_parallel_cross_entropy",
)
CLASSES = ("cross_entropy", "nll", "prob_nll", *LOGITS[1:])
#: Those of LOGITS whose logits are an argument: one may be -inf, no head multiplies it.
GIVEN_LOGITS = ("cross_entropy", "causal_cross_entropy", "vocab_parallel_cross_entropy")
#: Those without a matrix product in front, which autocast may run in 16 bits and which
#: carries its own errors into second derivatives.
DIRECT = (
    "cross_entropy",
    "nll",
    "prob_nll",
    "gaussian_nll",
    "poisson_nll",
    "bce_with_logits",
    "causal_cross_entropy",
    "vocab_parallel_cross_entropy",
)
#: Those whose loss judges each element by itself.
ELEMENTWISE = ("gaussian_nll", "poisson_nll", "bce_with_logits")
#: Those whose targets may be numbers, which then have a gradient.
TARGETS_IN_NUMBERS = ("cross_entropy", *ELEMENTWISE)
#: Those whose gradient depends on what one process holds: it can be differentiated again.
WHOLE = tuple(name for name in DIRECT if name != "vocab_parallel_cross_entropy")
#: Those of WHOLE that are not linear in their input: a second derivative is there.
CURVED = tuple(name for name in WHOLE if name != "nll")
