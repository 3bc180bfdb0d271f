"""Comparisons with older code, and the gate over what asv stored."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from nll_conformance.bench.gate import LOOKS, Comparison, judged
from nll_conformance.bench.statistics import LEVEL, Median, median

ROOT = Path(__file__).parents[3]
LOSS = """
import time
from torch.nn import functional as F

SLOW = 0.0


def loss(input, target, reduction="mean"):
    start = time.perf_counter()
    value = F.cross_entropy(input, target, reduction=reduction)
    end = time.perf_counter() + SLOW * (time.perf_counter() - start)
    while time.perf_counter() < end:
        pass
    return value
"""


def simulated(slowdown, noise, draw):
    """The verdict over ratios as noisy as a shared machine's, by the gate's own looks."""
    ratios = []
    for look in LOOKS:
        while len(ratios) < look:
            ratios.append(slowdown * draw.lognormvariate(0, noise) / draw.lognormvariate(0, noise))
        found = judged(median(ratios, 1.0 - (1.0 - LEVEL) / len(LOOKS)), 1.05)
        if found != "undecided":
            return found
    return "undecided"


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_same_code_raises_no_alarm_and_a_tenth_does(noise):
    draw = random.Random(0)
    assert all(simulated(1.0, noise, draw) == "not slower" for _ in range(200))
    assert sum(simulated(1.1, noise, draw) == "slower" for _ in range(200)) >= 190


def test_very_noisy_ratios_end_undecided_rather_than_wrong():
    draw = random.Random(1)
    found = [simulated(1.0, 0.3, draw) for _ in range(200)]
    assert found.count("slower") <= 4


def test_an_interval_decides_only_as_a_whole():
    assert judged(Median(1.2, 1.06, 1.4), 1.05) == "slower"
    assert judged(Median(1.0, 0.9, 1.04), 1.05) == "not slower"
    assert judged(Median(1.2, 1.04, 1.4), 1.05) == "undecided"
    assert judged(Median(2.0, None, None), 1.05) == "undecided"


def test_memory_counts_when_it_really_grows():
    same = ("not slower", Median(1.0, 0.9, 1.04), 12, 1.0, 1.0)
    assert Comparison(*same, 10**8, 2 * 10**8).alarm
    assert not Comparison(*same, 10**8, 10**8 + 10**6).alarm
    assert not Comparison(*same, 0, 10**6).alarm
    assert not Comparison(*same, None, None).alarm


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_code_is_compared_with_its_own_past(tmp_path):
    """Made more than twice as slow, which any machine can tell."""
    loss = tmp_path / "src" / "loss.py"
    loss.parent.mkdir()
    loss.write_text(LOSS)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "as it was")
    loss.write_text(LOSS.replace("SLOW = 0.0", "SLOW = 1.5"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nll_conformance", "bench", "src/loss.py:loss"),
            *("--against", "HEAD", "--shape", "256x1000", "--pass", "forward"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("SLOWER: src/loss.py:loss")


@pytest.mark.parametrize(
    ("target", "old", "said"),
    [
        ("src/loss.py:loss", "nowhere", "neither a folder nor a commit"),
        ("{outside}/loss.py:loss", "HEAD", "is in no git repository"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path, tmp_path_factory, monkeypatch, target, old, said
):
    from nll_conformance.bench.sources import before, locate
    from nll_conformance.errors import UsageError

    loss = tmp_path / "src" / "loss.py"
    loss.parent.mkdir()
    loss.write_text(LOSS)
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    outside = tmp_path_factory.mktemp("outside")
    (outside / "loss.py").write_text(LOSS)
    target = target.format(outside=outside)
    with pytest.raises(UsageError, match=said), before(locate(target), old):
        pass


@pytest.fixture
def asv_gate(monkeypatch):
    if not (ROOT / "benches").is_dir():
        pytest.skip("no benches beside the tests")
    monkeypatch.syspath_prepend(str(ROOT))
    from benches import gate

    return gate


def test_the_gate_over_asv_fails_when_nothing_was_measured(asv_gate, capsys):
    key = ("losses.Track.track_ratio_to_copy", "gathered")
    other = ("losses.Track.track_added_bytes", "gathered")
    assert asv_gate.judge({key: 2.0}, {}) == 3
    assert asv_gate.judge({key: 2.0}, {key: None}) == 3
    assert asv_gate.judge({}, {key: 2.0}) == 3
    assert asv_gate.judge({key: 2.0, other: 5.0}, {key: 2.0, other: None}) == 3
    assert asv_gate.judge({key: 2.0, other: 5.0}, {key: 2.1, other: 5.0}) == 0
    assert asv_gate.judge({key: 2.0, other: 5.0}, {key: 2.1, other: 6.0}) == 1
    assert "WORSE: losses.Track.track_added_bytes gathered" in capsys.readouterr().out


def test_a_ratio_is_worse_only_if_the_intervals_are_apart(asv_gate):
    def ratio(low: float, median: float, high: float) -> dict[tuple[str, ...], float | None]:
        name = "losses.Track.track_ratio_to_copy"
        return {(name, "x"): median, (f"{name}_low", "x"): low, (f"{name}_high", "x"): high}

    assert asv_gate.judge(ratio(1.5, 2.0, 3.1), ratio(2.9, 3.0, 3.2)) == 0
    assert asv_gate.judge(ratio(1.9, 2.0, 2.1), ratio(2.9, 3.0, 3.2)) == 1
    assert asv_gate.judge(ratio(1.9, 2.0, 2.01), ratio(2.1, 2.2, 2.3)) == 0


def test_without_a_results_folder_nothing_was_measured(asv_gate, tmp_path):
    pytest.importorskip("asv")
    (tmp_path / "asv.conf.json").write_text(
        '{"version": 1, "project": "p", "repo": ".", "benchmark_dir": "benches", '
        '"results_dir": ".asv/results"}'
    )
    assert asv_gate.numbers(tmp_path, "a" * 40) == {}
