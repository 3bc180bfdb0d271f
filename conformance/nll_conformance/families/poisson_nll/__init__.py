"""Poisson negative log-likelihood of a log rate or a rate."""
