"""How often ``bench --against`` errs: ``python -m benches.gate_errors [COMPARISONS]``.

Each comparison has a pair of processes of its own.  Half of them compare the same code, which
must raise no alarm; half a loss that waits for a tenth of its time more, which must.  Exit 1
if any alarm is false, or if more than one in twenty planted slowdowns is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from nll_conformance.bench.gate import Process, contest
from nll_conformance.bench.sources import Source

LOSS = """\
import time
from torch.nn import functional as F


def loss(input, target, reduction="mean"):
    start = time.perf_counter()
    value = F.cross_entropy(input, target, reduction=reduction)
    end = time.perf_counter() + {slower} * (time.perf_counter() - start)
    while time.perf_counter() < end:
        pass
    return value
"""
INPUT = {
    "shape": "256x1000",
    "dtype": "float32",
    "device": "cpu",
    "phase": "forward",
    "family": "cross_entropy",
}
LIMIT = 0.05


def _source(folder: Path, slower: float) -> Source:
    folder.mkdir()
    path = folder / "loss.py"
    path.write_text(LOSS.format(slower=slower), encoding="utf-8")
    return Source(f"{path}:loss", folder)


def alarm(old: Source, new: Source, seed: int) -> bool:
    """Compare once, say how it came out, and whether it raised an alarm."""
    start = time.monotonic()
    with Process(old, 1) as before, Process(new, 1) as after:
        before.prepare(**INPUT)
        after.prepare(**INPUT)
        found = contest(before, after, LIMIT, seed)
    took = time.monotonic() - start
    print(f"{new.root.name}: {found.ratio.value:.3f}, {found.verdict}, {took:.1f} s", flush=True)
    return found.alarm


def main(comparisons: int) -> int:
    """Both kinds in turn; the exit code."""
    false = missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, same = _source(folder / "old", 0.0), _source(folder / "same", 0.0)
        slower = _source(folder / "slower", 0.1)
        for seed in range(comparisons):
            false += alarm(old, same, seed)
            missed += not alarm(old, slower, seed)
    print(f"{false} false alarms, {missed} missed, of {comparisons} each")
    return int(bool(false) or 20 * missed > comparisons)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
