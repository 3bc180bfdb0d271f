"""Negative log-likelihood of probabilities against class indices."""
