"""Benchmarks: time and memory of losses, beside a copy of the logits, verified first.

``plan`` says what to measure, ``inputs`` makes it, ``verify`` holds the answers against the
oracle, ``clock`` and ``memory`` measure one call, ``rounds`` interleaves all of them, and
``session`` makes lines of it (``lines``).  ``gate`` compares two commits.
"""
