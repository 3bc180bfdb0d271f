"""The suite's own speed over commits."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


class Suite:
    """Cases a second, and how long somebody waits for a first reproducer."""

    timeout = 120.0

    def track_cases_per_second(self):
        """Quick profile, float32, of PyTorch's own cross entropy, on one thread."""
        import torch

        from nll_conformance import check

        start = time.perf_counter()
        report = check(
            torch.nn.functional.cross_entropy, profile="quick", dtype="float32", isolation=False
        )
        return sum(r.cases for r in report.results) / (time.perf_counter() - start)

    track_cases_per_second.unit = "cases/s"

    def track_first_reproducer_s(self):
        """Median over three faulty losses of the whole command's wall time."""
        waited = []
        for name in _faulty():
            command = [sys.executable, "-m", "nll_conformance", "check", name]
            start = time.perf_counter()
            done = subprocess.run(
                [*command, "--profile", "quick", "--fail-fast"],
                capture_output=True,
                text=True,
                check=False,
            )
            waited.append(time.perf_counter() - start)
            if done.returncode != 1:
                raise AssertionError(f"{name} was not found out: {done.stdout}{done.stderr}")
        return statistics.median(waited)

    track_first_reproducer_s.unit = "s"


def _faulty() -> list[str]:
    """Three registered mutants, far from each other in the list."""
    try:
        from nll_conformance.discover import mutants
    except ImportError as error:
        raise NotImplementedError(f"this commit has no mutants: {error}") from error
    names = [m.implementation.name for m in mutants() if m.implementation.family == "cross_entropy"]
    if len(names) < 3:
        raise NotImplementedError("this commit has no mutants")
    return [names[0], names[len(names) // 2], names[-1]]
