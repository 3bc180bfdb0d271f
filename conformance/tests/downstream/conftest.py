"""The sample is somebody else's package: its tests run in its own environment only."""

collect_ignore = ["sample"]
