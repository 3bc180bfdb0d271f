"""Invented history, and the inputs of a large project."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from invented import (
    PROGRAM,
    bench_header,
    bench_line,
    commit_id,
    footer,
    header,
    result,
    write,
)

from nll_reports.frames import COLUMNS


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
