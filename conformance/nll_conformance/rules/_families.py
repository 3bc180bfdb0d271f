"""Groups of families that share a part of the contract."""

LOGITS = ("cross_entropy", "linear_cross_entropy", "causal_cross_entropy")
CLASSES = ("cross_entropy", "nll", "prob_nll", "linear_cross_entropy", "causal_cross_entropy")
