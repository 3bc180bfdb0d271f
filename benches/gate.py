"""Did a commit make anything worse, and was anything measured at all?

``python -m benches.gate BASE HEAD`` runs asv on both commits (``--measured``: neither) and
compares what does not depend on the day: ratios to a copy, added bytes, errors.  Times are
left to ``nll-conformance bench --against``, which runs both commits side by side.  asv's own
exit codes will not do: 1 is a regression or no benchmark at all, ``compare`` always ends
with 0, and a run that stored nothing does, too.

Exit 0: measured, nothing worse · 1: worse · 2: usage · 3: nothing measured, or a benchmark
that had a number failed.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

#: Benchmarks to gate on, and by how much each may grow.  One with an interval (``_low`` and
#: ``_high`` beside it) is worse only if the intervals are apart as well.
LIMITS = {"track_ratio_to_copy": 1.25, "track_added_bytes": 1.1, "track_error_units": 1.1}
WORSE, NOTHING = 1, 3

Numbers = dict[tuple[str, ...], float | None]


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benches.gate", description=__doc__)
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--measured", action="store_true", help="asv has been run already")
    parser.add_argument("--bench", default="Track", help="regular expression, as asv's")
    given = parser.parse_args(arguments)
    root = Path(__file__).parent.parent
    commits = [_commit(root, name) for name in (given.base, given.head)]
    if not given.measured:
        for commit in commits:
            command = [sys.executable, "-m", "asv", "run", f"{commit}^!", "-b", given.bench]
            subprocess.run(command, cwd=root, check=False)  # judged by what it stored
    return judge(numbers(root, commits[0]), numbers(root, commits[1]))


def judge(base: Numbers, head: Numbers) -> int:
    """Compare what was stored, and say so; the exit code."""
    if not any(value is not None for value in head.values()):
        print("NOTHING WAS MEASURED: no number is stored for the new commit.")
        return NOTHING
    common = [key for key, value in base.items() if value is not None and key in head]
    if not common:
        print("NOTHING TO COMPARE: no benchmark has a number for both commits.")
        return NOTHING
    failed = [key for key in common if head[key] is None]
    worse = [key for key in common if _grew(key, base[key], head[key]) and _apart(key, base, head)]
    for key in failed:
        print(f"FAILED: {' '.join(key)}: had {base[key]:.4g}, has no number any more")
    for key in worse:
        print(f"WORSE: {' '.join(key)}: {base[key]:.4g} -> {head[key]:.4g}")
    print(f"{len(common)} compared, {len(worse)} worse, {len(failed)} failed")
    return NOTHING if failed else WORSE if worse else 0


def _grew(key: tuple[str, ...], old: float | None, new: float | None) -> bool:
    limit = next((x for name, x in LIMITS.items() if key[0].endswith(name)), math.inf)
    return old is not None and new is not None and new > limit * old and new - old > 1e-12


def _apart(key: tuple[str, ...], base: Numbers, head: Numbers) -> bool:
    old = base.get((f"{key[0]}_high", *key[1:]))
    new = head.get((f"{key[0]}_low", *key[1:]))
    return old is None or new is None or new > old


def numbers(root: Path, commit: str) -> Numbers:
    """Everything that asv stored for a commit: benchmark and parameters to number.

    None is a failed benchmark; one that does not apply (asv's NaN) is left out.
    """
    found: Numbers = {}
    for key, value in _stored(root, commit):
        if value is None or not math.isnan(value):
            found[key] = value
    return found


def _stored(root: Path, commit: str) -> Iterator[tuple[tuple[str, ...], float | None]]:
    from asv.config import Config
    from asv.results import iter_results

    config = Config.load(str(root / "asv.conf.json"))
    folder = root / config.results_dir
    for stored in iter_results(str(folder)) if folder.is_dir() else ():
        if stored.commit_hash != commit:
            continue
        for name in stored.get_all_result_keys():
            params = stored.get_result_params(name)
            values = stored.get_result_value(name, params)
            for combination, value in zip(product(*params), values, strict=True):
                yield (name, *(str(p).strip("'") for p in combination)), value


def _commit(root: Path, name: str) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--verify", f"{name}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name!r} is no commit of {root}.", file=sys.stderr)
        raise SystemExit(2)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
