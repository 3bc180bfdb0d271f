"""Cross entropy of logits whose classes are split over the ranks of a process group."""
