"""Process-wide state that a loss must leave alone: taken, compared, put back."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

#: The same of :func:`take` in a reproducer.
SHOWN = """
    import os, random, sys, warnings
    numpy = sys.modules.get("numpy")
    def state():
        return {{
            "default dtype": torch.get_default_dtype(),
            "grad mode": torch.is_grad_enabled(),
            "torch RNG state": torch.get_rng_state().tolist(),
            "python RNG state": random.getstate(),
            "numpy RNG state": numpy and str(numpy.random.get_state()),
            "thread count": torch.get_num_threads(),
            "deterministic mode": torch.are_deterministic_algorithms_enabled(),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "anomaly mode": torch.is_anomaly_enabled(),
            "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
            "warning filters": list(warnings.filters),
            "environment": dict(os.environ),
            "current directory": os.getcwd(),
            "import path": list(sys.path),
            "recursion limit": sys.getrecursionlimit(),
        }}
    before = state()
    loss = {call}
    {backward}
    changed = [name for name, value in state().items() if value != before[name]]
    assert not changed, changed
"""


@dataclass(frozen=True)
class ProcessState:
    """What was in force at one moment, by name."""

    facts: Mapping[str, Any]

    def changed_since(self, earlier: ProcessState) -> tuple[str, ...]:
        """The names of what differs from an earlier state."""
        return tuple(
            name for name, value in self.facts.items() if not _equal(value, earlier.facts[name])
        )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(a == b)


def take() -> ProcessState:
    """The state now."""
    facts: dict[str, Any] = {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "torch RNG state": torch.get_rng_state(),
        "python RNG state": random.getstate(),
        "thread count": torch.get_num_threads(),
        "deterministic mode": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "current directory": _directory(),
        "import path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
    }
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        kind, keys, position, gauss, cached = numpy_random.get_state()
        facts["numpy RNG state"] = (kind, keys.tolist(), position, gauss, cached)
    else:
        facts["numpy RNG state"] = None
    return ProcessState(facts)


def _directory() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def restore(state: ProcessState) -> None:
    """Put everything back, so that later rules judge fairly."""
    facts = state.facts
    torch.set_default_dtype(facts["default dtype"])
    torch.set_grad_enabled(facts["grad mode"])
    torch.set_rng_state(facts["torch RNG state"])
    random.setstate(facts["python RNG state"])
    if torch.get_num_threads() != facts["thread count"]:
        torch.set_num_threads(facts["thread count"])
    deterministic = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if deterministic != facts["deterministic mode"]:  # setting it imports torch._inductor: 1.4 s
        enabled, warn_only = facts["deterministic mode"]
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    torch.set_float32_matmul_precision(facts["float32 matmul precision"])
    torch.autograd.set_detect_anomaly(facts["anomaly mode"])
    enabled, dtype = facts["autocast"]
    torch.set_autocast_enabled("cpu", enabled)
    torch.set_autocast_dtype("cpu", dtype)
    if list(warnings.filters) != facts["warning filters"]:
        warnings.filters[:] = facts["warning filters"]  # type: ignore[index]
        warnings.simplefilter("default", append=True)  # tells the cache that filters changed
        warnings.filters.pop()  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(facts["environment"])
    if facts["current directory"] is not None:
        os.chdir(facts["current directory"])
    sys.path[:] = facts["import path"]
    sys.setrecursionlimit(facts["recursion limit"])
