"""Binary cross entropy of logits."""
