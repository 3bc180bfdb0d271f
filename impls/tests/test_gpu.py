"""What only a GPU can show: kernels that compile, faults that outlast a call, its clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

#: Reads far outside of a tensor where there are three rows, which a GPU notices afterwards.
FAULTY = """
import torch
import torch.nn.functional as F


def loss(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    if input.dim() == 2 and input.shape[0] == 3:
        torch.zeros(4, device=input.device)[target + 1000]
    return F.cross_entropy(input, target, weight, None, ignore_index, None, reduction)
"""


def _nll_conformance(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "nll_conformance", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)


def _lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_triton_kernels_conform() -> None:
    quick = ("--device", "cuda", "--profile", "quick", "--jobs", "4")
    done = _nll_conformance("check", "fused_triton", *quick, "--dtype", "float32,bfloat16")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["torch_nll_loss", "prob_gather", "torch_poisson_nll"])
def test_other_families_are_judged_there(name: str) -> None:
    done = _nll_conformance("check", name, "--device", "cuda", "--profile", "quick")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fault_costs_one_rule(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    target, file = f"{tmp_path / 'faulty.py'}:loss", tmp_path / "results.jsonl"
    asked = ("--rules", "values.*", "--rules", "errors.target_out_of_range", "--dtype", "float32")
    done = _nll_conformance("check", target, "--device", "cuda", *asked, "--json", str(file))
    assert done.returncode == 1, done.stdout + done.stderr
    results = [line for line in _lines(file) if line["kind"] == "result"]
    outcomes = {str(line["rule"]): line["outcome"] for line in results}
    failed = [line for line in results if line["outcome"] == "fail"]
    assert any("assert" in str(line["message"]) for line in failed), outcomes
    assert "pass" in outcomes.values(), outcomes
    assert outcomes["errors.target_out_of_range"] == "pass"


def test_the_clock_of_the_gpu(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    shape = ("--shape", "2048x8192", "--device", "cuda", "--json", str(file))
    done = _nll_conformance("bench", "torch_cross_entropy", "fused_triton", *shape)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {str(line["implementation"]): line for line in _lines(file) if "ratio_to_copy" in line}
    eager, fused = lines["torch_cross_entropy"], lines["fused_triton"]
    assert 1.0 < float(str(fused["ratio_to_copy"])) < float(str(eager["ratio_to_copy"]))
    # eager keeps log-probabilities, their gradient and that of the logits
    assert float(str(eager["added_bytes_ratio"])) > 2.0 > float(str(fused["added_bytes_ratio"]))


def test_mutants_are_caught_there(tmp_path: Path) -> None:
    file = tmp_path / "trial.json"
    asked = ("--device", "cuda", "--profile", "quick", "--only", "overlooked.*")
    done = _nll_conformance("selftest", *asked, "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    trial = json.loads(file.read_text(encoding="utf-8"))
    assert trial["device"] == "cuda" and trial["caught"] == trial["mutant_count"] > 0
