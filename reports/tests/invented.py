"""Invented inputs: a small set with one of everything, and one of the size of a large project."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nll_conformance.results import encode
from nll_reports.frames import COLUMNS

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
        line |= {"reason": "known since 1.0", "link": "https://example.org/issues/of-a-project-with-a-long-name-and-a-longer-title-that-no-phone-can-show/1"}
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


def past(
    folder: Path,
    implementations: int,
    rules: list[str],
    dtypes: tuple[str, ...],
    commits: int,
    shapes: tuple[str, ...],
) -> Path:
    """History files as ``history.record`` writes them, with a few verdicts lost and regained."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    names = [f"loss_{number:02d}" for number in range(implementations)]
    failing: dict[tuple[str, str], set[str]] = {(n, d): set() for n in names for d in dtypes}
    for commit in range(commits):
        for _ in range(3):
            key = (rng.choice(names), rng.choice(dtypes))
            failing[key] ^= {rng.choice(rules)}
        run_id = f"{commit:032x}"
        started = f"2025-{1 + commit // 25:02d}-{1 + commit % 25:02d}T00:00:00+00:00"
        run = {
            "kind": "results",
            "source": "ci",
            "complete": commit % 50 != 49,
            "started_at": started,
            "subject_commit": commit_id(commit),
            "spec_version": "1.0",
            "machine": "rack",
            "profile": "quick",
        }
        outcomes, implemented, accuracy = [], [], []
        for name in names:
            bad_count = 0
            for dtype in dtypes:
                bad = failing[name, dtype]
                bad_count += len(bad)
                base = {
                    "implementation": name,
                    "family": "cross_entropy",
                    "dtype": dtype,
                    "device": "cpu",
                }
                outcomes.append(
                    {**base, "outcome": "pass", "rules": " ".join(r for r in rules if r not in bad)}
                )
                if bad:
                    outcomes.append({**base, "outcome": "fail", "rules": " ".join(sorted(bad))})
                accuracy.append(
                    {**base, "error_units": 3.0 + len(name) + commit // 100, "letter": "A"}
                )
            total = len(rules) * len(dtypes)
            implemented.append(
                {
                    "implementation": name,
                    "family": "cross_entropy",
                    "verdict": "conforms",
                    "sentence": "",
                    "passed": total - bad_count,
                    "failed": bad_count,
                    "failed_should": 0,
                    "known": 0,
                    "unjudged": 0,
                }
            )
        _pack(
            folder / f"results-{run_id}.json.gz",
            run_id,
            runs=[run],
            implementations=implemented,
            outcomes=outcomes,
            accuracy=accuracy,
        )
        bench_id = f"{commit:031x}b"
        lines = []
        for place, name in enumerate(names):
            for shape in shapes:
                slower = 1.4 if place == 0 and commit > commits // 2 else 1.0
                ratio = (2.0 + place / 4) * slower * (1 + 0.01 * rng.random())
                line = bench_line(name, shape, "both", ratio)
                lines.append(
                    {**line, "interval": "95 %", "limits": "", "classes": int(shape.split("x")[1])}
                )
        _pack(
            folder / f"bench-{bench_id}.json.gz",
            bench_id,
            runs=[{**run, "kind": "bench"}],
            bench=lines,
        )
    return folder


def _pack(path: Path, run_id: str, **rows: list[dict[str, Any]]) -> None:
    packed: dict[str, Any] = {"kind": "history", "schema": 1, "run_id": run_id}
    for name in ("runs", "implementations", "outcomes", "accuracy", "bench", "trials", "baselines"):
        columns = [column for column in COLUMNS[name] if column != "run_id"]
        packed[name] = {
            "columns": columns,
            "rows": [[row.get(c) for c in columns] for row in rows.get(name, [])],
        }
    path.write_bytes(gzip.compress(json.dumps(packed).encode(), 3))


def everything(folder: Path) -> None:
    """One input of every kind below ``inputs``, an asv folder, and a history."""
    inputs = folder / "inputs"
    write(inputs / "results.jsonl", *small_results())
    write(inputs / "bench.jsonl", *small_bench())
    (inputs / "selftest.json").write_text(json.dumps(trial()))
    (inputs / "baselines.json").write_text(json.dumps(BASELINES))
    (inputs / "pytest_benchmark.json").write_text(json.dumps(PYTEST_BENCHMARK))
    asv(folder / "asv")
    past(
        folder / "history",
        3,
        ["values.plain_mean", "ignore_index.default"],
        ("float32",),
        12,
        ("512x32000",),
    )


def large(folder: Path) -> None:
    """60 implementations x 120 rules x 4 dtypes, benches, and 200 commits of history."""
    rng = random.Random(1)
    themes = [f"theme_{chr(97 + t)}" for t in range(20)]
    rules = [f"{theme}.rule_{number}" for theme in themes for number in range(6)]
    names = [f"loss_{number:02d}" for number in range(60)]
    dtypes = ("float32", "bfloat16", "float16", "float64")
    lines = [header([{"name": name} for name in names], run_id="f" * 32)]
    for name in names:
        for rule in rules:
            chance = rng.random()
            outcome = (
                "pass"
                if chance < 0.85
                else "unsupported"
                if chance < 0.95
                else "fail"
                if chance < 0.97
                else "expected_failure"
            )
            lines += [
                result(
                    name,
                    rule,
                    outcome,
                    dtype=dtype,
                    reproducer=f"{PROGRAM * 5}# {name} {rule} {dtype}" if outcome == "fail" else "",
                )
                for dtype in dtypes
            ]
    write(folder / "results.jsonl", *lines, footer())
    shapes = ("512x1000", "512x32000", "512x128256")
    measured = [
        bench_line(name, shape, which, 1.5 + place / 5)
        for place, name in enumerate(names)
        for shape in shapes
        for which in ("forward", "both")
    ]
    write(folder / "bench.jsonl", bench_header(), *measured, {"kind": "footer", "counts": {}})
    past(folder / "history", 60, rules, dtypes, 200, shapes[1:])
