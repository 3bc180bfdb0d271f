"""Cross entropy of logits against class indices or class probabilities."""
