"""Cross entropy of hidden states under a linear head, the logits never asked for."""
