"""A GPU that one call has made unusable costs that rule; played on a CPU."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from nll_conformance import check, gpu
from nll_conformance.engine import Engine
from nll_conformance.model import Case
from nll_conformance.wish import Wish

#: Three rows end the use of the GPU, as a failed assertion there does, for all that follows.
FAULTY = """
import torch.nn.functional as F
from nll_conformance import gpu


def failed():
    raise RuntimeError("CUDA error: device-side assert triggered")


def loss(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    if input.dim() == 2 and input.shape[0] == 3 and input.shape[1] > 1:
        gpu.wait = failed
    return F.cross_entropy(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY, encoding="utf-8")
    return f"{file}:loss"


def test_it_costs_the_rule_and_no_other(target: str) -> None:
    rules = ("values.row_loss", "values.accuracy_set", "weight.single_row", "shapes.one_class_only")
    report = check(target, rules=rules, dtype=("float32",), profile="quick")
    found = {result.rule: result for result in report.results}
    lost = [result for result in found.values() if result.outcome == "fail"]
    assert lost, found
    assert all("device-side assert" in result.message for result in lost)
    assert all(result.counterexample is not None for result in lost)
    assert found["weight.single_row"].outcome == "pass"
    assert found["shapes.one_class_only"].outcome == "pass"


def test_bad_input_is_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wish = Wish("torch.nn.functional:cross_entropy", devices=("cpu", "cuda"))
    jobs = Engine(wish, lambda case: None).plan()
    bad = [device == "cuda" and rule.startswith("errors.") for rule, _, device in jobs]
    assert any(bad)
    assert bad == sorted(bad)


def test_too_little_memory_for_a_case_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Wish("torch.nn.functional:cross_entropy"), lambda case: None)
    full = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(Case, "build", Mock(side_effect=full))
    result = engine.run("values.row_loss", "float32", "cpu")
    assert (result.outcome, "too little memory" in result.message) == ("inconclusive", True)


@pytest.mark.parametrize(
    ("free", "reserved", "outcome"), [(2**20, 2**20, "inconclusive"), (2**20, 2**30, "fail")]
)
def test_a_gpu_that_others_filled_is_not_the_losss_fault(
    free: int, reserved: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(input: torch.Tensor, target: torch.Tensor, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = Engine(Wish("greedy"), lambda case: None, greedy)
    # The test plays a GPU of 1 GiB, of which other processes hold the rest; not before the
    # engine has put back what others changed.
    monkeypatch.setattr(gpu, "_in_use", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", list)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: reserved)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    result = engine.run("values.row_loss", "float32", "cpu")
    assert result.outcome == outcome, result.message
