"""At the desk: ``pytest benches --benchmark-only``, a group for each shape.

Each loss is verified on the very input first.  ``extra_info`` has the keys by which results,
asv and these can be joined.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("pytest_benchmark")

from nll_conformance.bench.single import prepare
from nll_conformance.discover import registered
from nll_conformance.errors import UsageError

SHAPES = ("1024x8192", "8192x1000")
NAMES = tuple(name for name, own in registered().items() if own.family == "cross_entropy")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
@pytest.mark.parametrize("name", ["copy", *NAMES])
def test_cross_entropy(benchmark, name, device, dtype, shape):
    loss = "torch_cross_entropy" if name == "copy" else name
    try:
        prepared = prepare(loss, shape, dtype=dtype, device=device)
    except UsageError as error:
        pytest.skip(str(error))
    benchmark.group = f"cross_entropy {shape} {dtype} {device} both"
    benchmark.extra_info.update(
        {
            "implementation": name,
            "family": "cross_entropy",
            "dtype": dtype,
            "device": device,
            "shape": shape,
            "pass": "both",
            "logits_bytes": prepared.logits_bytes,
            "error_units": None if name == "copy" else prepared.error_units,
        }
    )
    number = iter(range(10**9))

    def contents():
        """Other contents at the same addresses before every call."""
        return (prepared.ready(next(number) % 2, copy=name == "copy"),), {}

    benchmark.pedantic(lambda call: call(), setup=contents, rounds=7, warmup_rounds=1)
