"""Losses whose import does harm; only a worker may import one of these modules."""
