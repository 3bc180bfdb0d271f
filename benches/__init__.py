"""Benchmarks over commits, for asv; ``desk`` holds those for pytest-benchmark."""
