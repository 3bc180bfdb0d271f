"""Losses over commits: time, memory, the ratio to a copy, accuracy; and a baseline of memory.

Everything is verified on the very input before it is measured: a wrong loss fails here.  A
commit that lacks an implementation, or the benchmark itself, has no number: NotImplementedError
is how asv is told "n/a".
``NLL_BENCH=full`` adds sizes of language models and the forward pass alone;
``NLL_BENCH=PoissonNll,Causal`` measures these sets only.
"""

from __future__ import annotations

import functools
import os

try:
    from nll_conformance.bench.lines import BAD_OUTCOMES
    from nll_conformance.bench.session import Bench, Options
    from nll_conformance.bench.single import Prepared, prepare
    from nll_conformance.discover import registered
    from nll_conformance.errors import UsageError
except ImportError as error:  # a commit before the benchmark
    MISSING: ImportError | None = error
    NAMES: dict[str, str] = {}
else:
    MISSING = None
    NAMES = {name: declared.family for name, declared in registered().items()}

WISH = os.environ.get("NLL_BENCH", "")
FULL = WISH == "full"
#: Title of the classes, family, shapes, dtypes.  Large enough to leave the caches (33 MB in
#: float32 for cross entropy), small enough for many commits.
SETS = (
    ("CrossEntropy", "cross_entropy", ("1024x8192", "8192x1000"), ("float32",)),
    ("CrossEntropyBfloat16", "cross_entropy", ("8192x1000",), ("bfloat16",)),
    ("Nll", "nll", ("8192x1000",), ("float32",)),
    ("ProbNll", "prob_nll", ("8192x1000",), ("float32",)),
    ("GaussianNll", "gaussian_nll", ("2048x512",), ("float32",)),
    ("PoissonNll", "poisson_nll", ("2048x512",), ("float32",)),
    ("BceWithLogits", "bce_with_logits", ("2048x512",), ("float32",)),
    ("Linear", "linear_cross_entropy", ("512x256x8192",), ("float32",)),
    ("Causal", "causal_cross_entropy", ("4x128x8192",), ("float32",)),
)
LARGE = (
    ("Large", "cross_entropy", ("2048x32000", "512x128256"), ("float32", "bfloat16")),
    ("LargeLinear", "linear_cross_entropy", ("1024x1024x32000",), ("float32",)),
)
if FULL:
    SETS += LARGE
elif WISH:
    SETS = tuple(entry for entry in SETS if entry[0] in WISH.split(","))
PASSES = ("both", "forward") if FULL else ("both",)
KEYS = ("implementation", "family", "shape", "dtype", "device", "pass")


def _devices() -> tuple[str, ...]:
    import torch

    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _installed() -> None:
    if MISSING is not None:
        raise NotImplementedError(f"this commit has no benchmark: {MISSING}")


def _of(family: str) -> tuple[str, ...]:
    return tuple(name for name, own in NAMES.items() if own == family)


@functools.lru_cache(maxsize=1)
def _prepared(name: str, shape: str, dtype: str, device: str, phase: str) -> Prepared:
    try:
        return prepare(name, shape, dtype=dtype, device=device, phase=phase)
    except UsageError as error:
        raise NotImplementedError(str(error)) from error


class _Silence:
    def doing(self, what: str, done: int, total: int) -> None:
        pass


class _Time:
    """Time of one call, fresh contents before each."""

    param_names = KEYS
    number = 1
    rounds = 1
    repeat = (5, 30, 1.0)
    warmup_time = 0.0
    timeout = 120.0

    def setup(self, name, family, shape, dtype, device, phase):
        _installed()
        self.call = _prepared(name, shape, dtype, device, phase).ready()

    def time_loss(self, *_):
        self.call()


def _measure() -> dict[tuple[str, ...], dict[str, object]]:
    """One interleaved benchmark of each family, made once for a commit: lines by their keys."""
    found: dict[tuple[str, ...], dict[str, object]] = {}
    for _, family, shapes, dtypes in SETS if MISSING is None else ():
        names = _of(family)
        if names:
            # Threads that wait for each other measure whatever else the cores are doing.
            options = Options(
                shape=shapes, dtype=dtypes, device=_devices(), passes=PASSES, rounds=7, threads=1
            )
            bench = Bench(names, options, _Silence())
            bench.load()
            for line in bench.run():
                facts = line.to_json()
                found[tuple(str(facts[key]) for key in KEYS)] = facts
    return found


class _Track:
    """What one interleaved benchmark of all losses of a family says."""

    param_names = KEYS
    timeout = 60.0

    def setup_cache(self):
        return _measure()

    setup_cache.timeout = 1800.0

    def setup(self, found, *key):
        """Only here does NotImplementedError mean "n/a"; in a benchmark it is a failure."""
        if key not in found or found[key]["outcome"] not in (*BAD_OUTCOMES, "timed"):
            raise NotImplementedError("not installed, or not supported")

    def _fact(self, what, found, key):
        line = found[key]
        if line["outcome"] != "timed":
            raise AssertionError(f"{line['outcome']}: {line['message']}")
        return float("nan") if line[what] is None else line[what]

    def track_ratio_to_copy(self, found, *key):
        return self._fact("ratio_to_copy", found, key)

    track_ratio_to_copy.unit = "x copy"

    def track_ratio_to_copy_low(self, found, *key):
        return self._fact("ratio_to_copy_low", found, key)

    track_ratio_to_copy_low.unit = "x copy"

    def track_ratio_to_copy_high(self, found, *key):
        return self._fact("ratio_to_copy_high", found, key)

    track_ratio_to_copy_high.unit = "x copy"

    def track_added_bytes(self, found, *key):
        return self._fact("added_bytes", found, key)

    track_added_bytes.unit = "bytes"

    def track_error_units(self, found, *key):
        return self._fact("error_units", found, key)

    track_error_units.unit = "condition units"


# asv multiplies the parameters of a class, and families differ in shapes and implementations.
for _title, _family, _shapes, _dtypes in SETS:
    _params = (_of(_family), (_family,), _shapes, _dtypes, _devices(), PASSES)
    for _base in (_Time, _Track):
        _own = {"params": _params, "__module__": __name__, "__doc__": _base.__doc__}
        _name = f"{_title}{_base.__name__[1:]}"
        globals()[_name] = type(_name, (_base,), _own)


class Memory:
    """Peak resident memory of a process: mostly torch, so that only differences say much."""

    shape = "2048x32000" if FULL else "1024x8192"
    param_names = ("implementation",)
    params = ("torch_cross_entropy", "gathered", "online_softmax")

    def setup(self, name):
        _installed()
        try:
            self.prepared = prepare(name, self.shape, verified=False)
        except UsageError as error:
            raise NotImplementedError(str(error)) from error

    def peakmem_baseline(self, _):
        """The suite, torch and the inputs: what every other number contains."""
        self.prepared.ready()

    def peakmem_loss(self, _):
        self.prepared.ready()()
