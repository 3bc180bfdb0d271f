"""Gaussian negative log-likelihood of a mean and a variance."""
