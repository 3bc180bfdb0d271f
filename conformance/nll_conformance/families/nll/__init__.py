"""Negative log-likelihood of log-probabilities against class indices."""
