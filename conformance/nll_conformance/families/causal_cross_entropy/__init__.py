"""Cross entropy of a language model: each position is scored against the next label."""
