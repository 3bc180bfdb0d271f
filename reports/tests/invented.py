"""Invented inputs, one of everything."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nll_conformance.results import encode

#: What a hostile author would call a loss: markup, script, control and format characters.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e[x](javascript:3)"
PROGRAM = """import torch
loss = torch.nn.functional.cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
assert loss < 0, "<b>wrong</b>"
"""
CASE = {
    "family": "cross_entropy",
    "rule": "ignore_index.default",
    "recipe": {
        "input": {"regime": "scatter", "shape": [2, 3], "dtype": "float32", "scale": -1},
        "target": {"regime": "levels", "shape": [2], "dtype": "int64", "edits": [[[0], -100.0]]},
    },
    "options": {"reduction": "sum"},
    "upstream": {"regime": "constant", "shape": [], "dtype": "float32", "offset": 1.0},
    "dtype": "float32",
    "device": "cpu",
}
COMMIT = "a" * 40
MESSAGE = (
    "loss is 0.879949868, expected 1.75989978: off by 0.88, 2.51e+05 times the bound 3.5e-06 "
    "(1 of 2 entries are wrong)"
)


def header(implementations: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    described = {
        "family": "cross_entropy",
        "family_assumed": False,
        "declaration": "registered",
        "capabilities": ["gradient", "weight"],
        "lacks": ["soft_target"],
        "promises": [],
        "divergences": {"empty_mean": "nan"},
        "divergences_seen": {},
        "precision": None,
        "dtypes": ["float32", "bfloat16"],
        "devices": ["cpu"],
        "version": None,
    }
    return {
        "kind": "header",
        "schema": 1,
        "suite_version": "0.1.0",
        "spec_version": "1.0",
        "run_id": "0" * 32,
        "implementations": [
            {**described, "target": item["name"], **item} for item in implementations
        ],
        "declaration": {},
        "environment": {"torch": "2.13.0", "processor": "x86_64", "threads": 1},
        "subject_commit": COMMIT,
        "suite_commit": COMMIT,
        "machine": "rack",
        "mode": "deterministic",
        "seed": 0,
        "profile": "quick",
        "rules": [],
        "isolation": True,
        "started_at": "2026-01-20T12:00:00+00:00",
        **given,
    }


def result(implementation: str, rule: str, outcome: str = "pass", **given: Any) -> dict[str, Any]:
    line = {
        "kind": "result",
        "implementation": implementation,
        "family": "cross_entropy",
        "rule": rule,
        "revision": 1,
        "level": "must",
        "dtype": "float32",
        "device": "cpu",
        "outcome": outcome,
        "cases": 20,
        "judged": 20,
        "discriminating": 20,
        "seconds": 0.1,
        "error_over_bound": 0.25,
        "error_units": None,
        "message": "",
        "counterexample": None,
        "reproducer": "",
    }
    if outcome in ("fail", "crash", "expected_failure"):
        line |= {"message": MESSAGE, "finding": "value", "counterexample": CASE}
        line["reproducer"] = PROGRAM
    if outcome == "expected_failure":
        line |= {
            "reason": "known since 1.0",
            "link": "https://example.org/issues/of-a-project-with-a-long-name-and-a-longer-title-that-no-phone-can-show/1",
        }
    if outcome == "unsupported":
        line |= {"message": "no parameter mask", "reason": "no parameter mask", "judged": 0}
    return {**line, **given}


def footer(**given: Any) -> dict[str, Any]:
    return {
        "kind": "footer",
        "counts": {},
        "levels": {"must": {}, "should": {}},
        "conforms": True,
        "exit_code": 0,
        "interrupted": False,
        "finished_at": "2026-01-20T12:00:30+00:00",
        "seconds": 30.0,
        **given,
    }


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, lines)))
    return path


RULES = (
    "call.simplest",
    "values.plain_mean",
    "values.accuracy_set",
    "ignore_index.default",
    "mask.mean",
    "stability.large_logits",
    "reductions.mean",
)


def small_results() -> Iterator[dict[str, Any]]:
    """Three losses of one family and one of another, with every outcome somewhere."""
    yield header(
        [
            {"name": "right"},
            {"name": "wrong"},
            {"name": HOSTILE},
            {"name": "elsewhere", "family": "nll"},
        ]
    )
    units = {"right": 3.0, "wrong": 40.0, HOSTILE: 500.0, "elsewhere": 2.0}
    outcomes = {
        ("wrong", "ignore_index.default"): "fail",
        ("wrong", "reductions.mean"): "expected_failure",
        ("wrong", "stability.large_logits"): "timeout",
        (HOSTILE, "ignore_index.default"): "crash",
        (HOSTILE, "reductions.mean"): "error",
        (HOSTILE, "stability.large_logits"): "inconclusive",
        ("elsewhere", "stability.large_logits"): "not_run",
        ("elsewhere", "reductions.mean"): "unexpected_pass",
    }
    for name, most in units.items():
        for rule in RULES:
            for dtype in ("float32", "bfloat16"):
                outcome = (
                    "unsupported" if rule == "mask.mean" else outcomes.get((name, rule), "pass")
                )
                given: dict[str, Any] = {"dtype": dtype}
                given["family"] = "nll" if name == "elsewhere" else "cross_entropy"
                if rule == "values.accuracy_set":
                    given |= {
                        "level": "should",
                        "error_units": most / (2 if dtype == "float32" else 1),
                    }
                if name == HOSTILE and outcome in ("crash", "error"):
                    given |= {
                        "message": HOSTILE * 20,
                        "reproducer": HOSTILE,
                        "link": "javascript:alert(4)",
                    }
                yield result(name, rule, outcome, **given)
    yield footer()


def bench_line(
    implementation: str, shape: str, which: str, ratio: float, **given: Any
) -> dict[str, Any]:
    return {
        "kind": "bench",
        "implementation": implementation,
        "family": "cross_entropy",
        "dtype": "float32",
        "device": "cpu",
        "shape": shape,
        "pass": which,
        "outcome": "timed",
        "version": None,
        "message": "",
        "rounds": 20,
        "time_ms": ratio * 2,
        "time_ms_low": ratio * 1.9,
        "time_ms_high": ratio * 2.1,
        "copy_time_ms": 2.0,
        "ratio_to_copy": ratio,
        "ratio_to_copy_low": ratio * 0.98,
        "ratio_to_copy_high": ratio * 1.02,
        "ratio_to_torch": ratio / 11,
        "added_bytes": 4096 * ratio,
        "added_bytes_ratio": ratio / 4,
        "gb_per_s": 10 / ratio,
        "error_over_bound": 0.1,
        "error_units": 2.0,
        "limits": ["noisy"],
        **given,
    }


def bench_header(**given: Any) -> dict[str, Any]:
    return {
        **{k: v for k, v in header([]).items() if k not in ("implementations", "profile", "rules")},
        "run_id": "b" * 32,
        "rounds": 20,
        "threads": 1,
        "command": "bench",
        **given,
    }


def small_bench() -> Iterator[dict[str, Any]]:
    yield bench_header()
    for which in ("forward", "backward", "both"):
        for shape in ("512x1000", "512x32000", "512x128256"):
            yield bench_line("copy", shape, which, 1.0)
            yield bench_line("right", shape, which, 11.0)
            yield bench_line("wrong", shape, which, 3.0)
            yield bench_line("other version", shape, which, 2.0, version="9")
    yield bench_line(
        HOSTILE, "512x1000", "both", 1.0, outcome="wrong", message=HOSTILE, ratio_to_copy=None
    )
    yield {
        "kind": "footer",
        "counts": {},
        "seconds": 3.0,
        "finished_at": "2026-01-20T13:00:00+00:00",
    }


def trial() -> dict[str, Any]:
    def verdict(name: str, status: str, rule: str = "", *caught: str) -> dict[str, Any]:
        words = {"name": name, "family": "cross_entropy", "status": status, "rule": rule}
        return {
            **words,
            "dtype": "float32",
            "cases": 3,
            "seconds": 0.2,
            "message": MESSAGE,
            "caught": caught,
        }

    both = ("ignore_index.default", "reductions.mean")
    return {
        "kind": "selftest",
        "profile": "standard",
        "seed": 0,
        "matrix": True,
        "seconds": 10.0,
        "caught": 2,
        "mutant_count": 3,
        "false_alarms": 1,
        "variant_count": 2,
        "passed": False,
        "mutants": [
            verdict("ignoring.counts", "caught", both[0], both[0]),
            verdict("reducing.sum", "caught", both[1], *both),
            verdict("weighting.lost", "survived"),
        ],
        "variants": [
            verdict("variant_a", "spared"),
            verdict("variant_b", "flagged", both[1], both[1]),
        ],
        "alone": {both[0]: ["ignoring.counts"]},
    }


BASELINES = [
    {"name": "smoke test", "caught": 0, "mutants": 3, "rejected": 0, "variants": 2},
    {"name": "grid", "caught": 1, "mutants": 3, "rejected": 1, "variants": 2},
]
PYTEST_BENCHMARK = {
    "machine_info": {"node": "rack", "cpu": {"brand_raw": "a processor"}},
    "commit_info": {"id": COMMIT, "dirty": False},
    "datetime": "2026-01-20T12:30:00+00:00",
    "version": "5.3.1",
    "benchmarks": [
        {
            "name": "test_speed",
            "extra_info": {
                "implementation": "right",
                "family": "cross_entropy",
                "dtype": "float32",
                "device": "cpu",
                "shape": "512x1000",
                "pass": "both",
                "ratio_to_copy": 10.5,
            },
            "stats": {
                "median": 0.02,
                "rounds": 12,
                "data": [0.018 + 0.0004 * i for i in range(12)],
            },
        },
        {"name": "test_other", "extra_info": {}, "stats": {"median": 1.0}},
    ],
}


def asv(folder: Path, commits: int = 6) -> Path:
    """An asv results folder as asv 0.6.6 writes it: the last half of the commits is slower."""
    keys = ["implementation", "family", "dtype", "device", "shape", "pass"]
    params = [
        ["'right'", "'wrong'"],
        ["'cross_entropy'"],
        ["'float32'"],
        ["'cpu'"],
        ["'512x32000'"],
        ["'both'"],
    ]
    methods = {
        "losses.Loss.time_loss": lambda step: [0.02, math.nan],
        "losses.Loss.track_ratio_to_copy": lambda step: [11.0 * step, 3.0],
        "losses.Loss.track_ratio_to_copy_low": lambda step: [10.8 * step, 2.9],
        "losses.Loss.track_ratio_to_copy_high": lambda step: [11.2 * step, 3.1],
        "losses.Loss.track_added_bytes_ratio": lambda step: [2.0, None],
    }
    machine = folder / "rack"
    machine.mkdir(parents=True)
    (machine / "machine.json").write_text(json.dumps({"machine": "rack", "version": 1}))
    (folder / "benchmarks.json").write_text(
        json.dumps(
            {
                **{m: {"param_names": keys} for m in methods},
                "other.track_x": {"param_names": []},
                "version": 2,
            }
        )
    )
    for number in range(commits):
        step = 1.0 if number < commits // 2 else 1.5
        commit = commit_id(number)
        document = {
            "commit_hash": commit,
            "env_name": "existing-py",
            "date": 1_760_000_000_000 + number * 86_400_000,
            "params": {"cpu": "a processor", "machine": "rack"},
            "result_columns": [
                "result",
                "params",
                "version",
                "started_at",
                "duration",
                "stats_ci_99_a",
                "stats_ci_99_b",
            ],
            "results": {
                **{
                    m: [make(step), params, "1", 0, 0.1, [0.019, None], [0.021, None]]
                    for m, make in methods.items()
                },
                "other.track_x": [[1], [], "1", 0, 0.1],
            },
            "version": 2,
        }
        (machine / f"{commit[-8:]}-existing-py.json").write_text(json.dumps(document))
    return folder


def commit_id(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def everything(folder: Path) -> None:
    """One input of every kind below ``inputs``, and an asv folder."""
    inputs = folder / "inputs"
    write(inputs / "results.jsonl", *small_results())
    write(inputs / "bench.jsonl", *small_bench())
    (inputs / "selftest.json").write_text(json.dumps(trial()))
    (inputs / "baselines.json").write_text(json.dumps(BASELINES))
    (inputs / "pytest_benchmark.json").write_text(json.dumps(PYTEST_BENCHMARK))
    asv(folder / "asv")
