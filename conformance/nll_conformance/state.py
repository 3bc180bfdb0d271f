"""Process-wide state that a loss must leave alone: taken, compared, put back."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from . import gpu
from .isolation.processes import children
from .model import DEVICES
from .originals import picture

#: The same of :func:`take` in a reproducer.
SHOWN = """
    import gc, os, random, signal, sys, warnings
    import torch.nn.functional as F
    numpy = sys.modules.get("numpy")
    def state():
        return {{
            "default dtype": torch.get_default_dtype(),
            "grad mode": torch.is_grad_enabled(),
            "torch RNG state": torch.get_rng_state().tolist(),
            "CUDA RNG state": torch.cuda.is_initialized() and torch.cuda.get_rng_state().tolist(),
            "python RNG state": random.getstate(),
            "numpy RNG state": numpy and str(numpy.random.get_state()),
            "thread count": torch.get_num_threads(),
            "deterministic mode": torch.are_deterministic_algorithms_enabled(),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "anomaly mode": torch.is_anomaly_enabled(),
            "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
            "warning filters": list(warnings.filters),
            "environment": {{n: v for n, v in os.environ.items() if "TORCHINDUCTOR" not in n}},
            "current directory": os.getcwd(),
            "import path": list(sys.path),
            "recursion limit": sys.getrecursionlimit(),
            "garbage collection": (gc.isenabled(), gc.get_threshold()),
            "signal handlers": [signal.getsignal(n) for n in signal.valid_signals()],
            "exception hook": sys.excepthook,
            "trace function": (sys.gettrace(), sys.getprofile()),
            "standard streams": (sys.stdout, sys.stderr, sys.stdin),
            "default device": str(torch.get_default_device()),
            "functions of torch": [f for f in {{**vars(torch), **vars(F)}}.values() if callable(f)],
        }}
    before = state()
    loss = {call}
    {backward}
    changed = [name for name, value in state().items() if value != before[name]]
    assert not changed, changed
"""


class Settings(NamedTuple):
    """What of the state decides how torch computes; looked at around every call."""

    default_dtype: torch.dtype
    grad_mode: bool
    thread_count: int
    deterministic_mode: bool
    autocast: tuple[bool, bool]
    default_device: torch.device
    function_modes: int

    def put_back(self, earlier: Settings) -> list[str]:
        """Make ``earlier`` the settings in force; the names of what differed from it."""
        if self == earlier:
            return []
        torch.set_default_dtype(earlier.default_dtype)
        torch.set_grad_enabled(earlier.grad_mode)
        if self.thread_count != earlier.thread_count:
            torch.set_num_threads(earlier.thread_count)
        if self.deterministic_mode != earlier.deterministic_mode:
            torch.use_deterministic_algorithms(earlier.deterministic_mode)
        for device, enabled in zip(DEVICES, earlier.autocast, strict=True):
            torch.set_autocast_enabled(device, enabled)
        if self.default_device != earlier.default_device:
            _set_device(str(earlier.default_device))
        while _modes() > earlier.function_modes:
            torch._C._pop_torch_function_stack()  # noqa: SLF001 - there is no public way
        now = zip(self._fields, self, earlier, strict=True)
        return [name.replace("_", " ") for name, new, old in now if new != old]


def settings() -> Settings:
    """The settings in force now."""
    return Settings(
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        torch.get_default_device(),
        _modes(),
    )


def _modes() -> int:
    return torch._C._len_torch_function_stack()  # noqa: SLF001 - there is no public way


def _set_device(name: str) -> None:
    torch.set_default_device(None if name == "cpu" else name)


_SIGNALS = tuple(signal.valid_signals())
_SUBNORMAL = torch.tensor([2.0**-1060], dtype=torch.float64)


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
    if isinstance(b, list) and b and isinstance(b[0], torch.Tensor):
        return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(b, list) and b and isinstance(b[0], str):  # the import path
        return _not_the_compilers(a) == _not_the_compilers(b)
    if isinstance(b, dict) and b and isinstance(next(iter(b.values())), ModuleType):
        # What was imported since is not a change; what took another's place is.
        kept = _not_the_compilers(b)
        return all(a.get(name) is b[name] for name in kept)
    return bool(a == b)


def _not_the_compilers(names: Iterable[str]) -> list[str]:
    """Paths or modules but what torch.compile changes: setuptools, and its generated kernels.

    Inductor loads a kernel that it made before as a new module of the same name.
    """
    own = ("setuptools", "distutils", "torch._inductor.runtime.compile_tasks.")
    return [name for name in names if not any(part in name for part in own)]


def _flushes() -> bool:
    """Whether subnormal numbers count as zero, which nobody can ask."""
    return not bool((_SUBNORMAL * 1.0).item())


def take() -> ProcessState:
    """The state now."""
    facts: dict[str, Any] = {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "torch RNG state": torch.get_rng_state(),
        "CUDA RNG state": gpu.generators(),
        "reduced-precision products": gpu.reduced_products(),
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
        "environment": _environment(),
        "current directory": _directory(),
        "import path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "signal handlers": {n: signal.getsignal(n) for n in _SIGNALS},
        "exception hook": sys.excepthook,
        "trace function": (sys.gettrace(), sys.getprofile()),
        "standard streams": (sys.stdout, sys.stderr, sys.stdin),
        "default device": str(torch.get_default_device()),
        "flush to zero": _flushes(),
        "imported modules": dict(sys.modules),
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


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Whatever foreign code does to the state within, it is undone at the end."""
    before = take()
    torch.set_float32_matmul_precision("highest")  # no TF32
    gpu.exact_products()
    try:
        yield
    finally:
        picture().put_back(everything=True)
        restore(before)


def restore(state: ProcessState) -> None:
    """Put everything back, so that later rules judge fairly."""
    _restore_torch(state.facts)
    _restore_python(state.facts)


def _restore_torch(facts: Mapping[str, Any]) -> None:
    torch.set_default_dtype(facts["default dtype"])
    torch.set_grad_enabled(facts["grad mode"])
    torch.set_rng_state(facts["torch RNG state"])
    gpu.set_generators(facts["CUDA RNG state"])
    gpu.exact_products(facts["reduced-precision products"])
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
    if str(torch.get_default_device()) != facts["default device"]:
        _set_device(facts["default device"])
    if _flushes() != facts["flush to zero"]:
        torch.set_flush_denormal(facts["flush to zero"])


def _restore_python(facts: Mapping[str, Any]) -> None:
    random.setstate(facts["python RNG state"])
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None and facts["numpy RNG state"] is not None:
        numpy_random.set_state(facts["numpy RNG state"])
    if list(warnings.filters) != facts["warning filters"]:
        warnings.filters[:] = facts["warning filters"]  # type: ignore[index]
        warnings.simplefilter("default", append=True)  # tells the cache that filters changed
        warnings.filters.pop()  # type: ignore[attr-defined]
    if (environment := _environment()) != facts["environment"]:
        for name in environment:
            del os.environ[name]
        os.environ.update(facts["environment"])
    if facts["current directory"] is not None:
        with contextlib.suppress(FileNotFoundError):  # the target may have removed it
            os.chdir(facts["current directory"])
    sys.path[:] = facts["import path"]
    sys.setrecursionlimit(facts["recursion limit"])
    enabled, threshold = facts["garbage collection"]
    (gc.enable if enabled else gc.disable)()
    gc.set_threshold(*threshold)
    for number, handler in facts["signal handlers"].items():
        if signal.getsignal(number) != handler and handler is not None:
            with contextlib.suppress(OSError, ValueError):  # not the main thread
                signal.signal(number, handler)
    sys.excepthook = facts["exception hook"]
    tracing, profiling = facts["trace function"]
    if (sys.gettrace(), sys.getprofile()) != (tracing, profiling):
        sys.settrace(tracing)
        sys.setprofile(profiling)
    sys.stdout, sys.stderr, sys.stdin = facts["standard streams"]
    for name, module in facts["imported modules"].items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module


def leftovers() -> dict[str, int]:
    """How many there are of what a call may leave behind."""
    return {
        "threads": threading.active_count(),
        "child processes": len(list(children(os.getpid()))),
        "open files": _count("/proc/self/fd"),
    }


def _count(folder: str) -> int:
    try:
        return sum(1 for _ in Path(folder).iterdir())
    except FileNotFoundError:  # not Linux
        return 0


def _environment() -> dict[str, str]:
    """All variables but those in which torch's compiler leaves notes for itself."""
    return {name: value for name, value in os.environ.items() if "TORCHINDUCTOR" not in name}


_written: list[str] | None = None


@functools.cache
def _watch_files() -> None:
    """An audit hook, which stays for ever and does next to nothing while nobody looks."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _written is not None and event == "open" and len(arguments) == 3:
            path, _mode, flags = arguments
            writes = os.O_WRONLY | os.O_RDWR
            if isinstance(flags, int) and flags & writes and flags & os.O_CREAT:
                _written.append(f"{path}")

    sys.addaudithook(hook)


@contextlib.contextmanager
def written_files() -> Iterator[list[str]]:
    """The names of the files that Python code creates or opens for writing meanwhile."""
    global _written  # noqa: PLW0603 - an audit hook cannot be taken away, only ignored
    _watch_files()
    found: list[str] = []
    _written = found
    try:
        yield found
    finally:
        _written = None
