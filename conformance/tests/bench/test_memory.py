"""Peaks of calls whose answer is known."""

import pytest
import torch

from nll_conformance.bench.memory import added_bytes

#: 64 MiB: Linux counts the peak to some 0.3 MiB.
X = torch.ones(4096, 4096)
Y = torch.empty_like(X).copy_(X)


@pytest.mark.parametrize(
    ("call", "multiple"),
    [
        (X.clone, 1.0),
        (lambda: Y.copy_(X), 0.0),
        (lambda: Y.mul_(1.0), 0.0),
        (lambda: X.clone().add(1.0), 2.0),
        (lambda: [X.clone() for _ in range(3)], 3.0),
    ],
    ids=["clone", "copy", "in place", "a temporary", "three results"],
)
def test_peak_of_a_known_call(call, multiple):
    call()
    found = added_bytes(lambda: call, "cpu")
    if found is None:
        pytest.skip("no writable /proc/self/clear_refs")
    assert found / X.nbytes == pytest.approx(multiple, abs=0.02)


def test_memory_of_others_than_torch_counts():
    if added_bytes(lambda: int, "cpu") is None:
        pytest.skip("no writable /proc/self/clear_refs")
    assert added_bytes(lambda: lambda: bytes(bytearray(2**24)), "cpu") >= 2**24
