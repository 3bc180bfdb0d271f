"""Numbers that Hypothesis would find in a local module."""

THRESHOLDS = (17, 23, 4711, 31337, 2.718281828)
