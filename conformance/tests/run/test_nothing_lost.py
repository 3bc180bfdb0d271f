"""Whatever ends a run, what was judged is in the file, and the run can be continued."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from nll_conformance.isolation.processes import table
from nll_conformance.results import comparable, read

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")

CE = "torch.nn.functional:cross_entropy"
RULES = ("values.*", "reductions.*")


def command(*more: str) -> list[str]:
    rules = [word for rule in RULES for word in ("--rules", rule)]
    base = [sys.executable, "-m", "nll_conformance", "check"]
    return [*base, CE, "--profile", "quick", "--dtype", "float32", "--jobs", "1", *rules, *more]


def resumed(path: Path) -> subprocess.CompletedProcess[str]:
    resume = [sys.executable, "-m", "nll_conformance", "check", "--resume", str(path)]
    return subprocess.run(resume, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    subprocess.run(command("--json", str(path)), check=True, capture_output=True, timeout=120)
    return path


def workers_of(pid: int) -> set[int]:
    """The processes that the supervisor started, and those that they started."""
    found = {pid}
    for _ in range(3):
        found |= {each.pid for each in table() if each.parent in found}
    return found - {pid}


def end(pids: set[int]) -> bool:
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        if not pids & {each.pid for each in table() if not each.zombie}:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("lines", [1, 9])
def test_a_killed_supervisor_leaves_a_file_to_go_on_with(tmp_path, whole, lines):
    path = tmp_path / "r.jsonl"
    temporary = set(Path(tempfile.gettempdir()).glob("nll-conformance-*"))
    with subprocess.Popen(command("--json", str(path)), stdout=subprocess.DEVNULL) as process:
        give_up = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < give_up and process.poll() is None
            time.sleep(0.001)
        started = workers_of(process.pid)
        process.send_signal(signal.SIGKILL)
    assert started and end(started), "workers outlive their supervisor"
    left = set(Path(tempfile.gettempdir()).glob("nll-conformance-*")) - temporary
    assert not [each for each in left if os.access(each, os.R_OK) and _ours(each, started)]
    cut = read(path)
    assert not cut.complete and len(cut.results) >= lines - 1
    assert "cut short" in cut.conformance_sentence("torch_cross_entropy") or not cut.results
    done = resumed(path)
    assert done.returncode == 0, done.stderr
    assert read(path).complete
    assert comparable(read(path)) == comparable(read(whole))


def _ours(folder: Path, started: set[int]) -> bool:
    """Other runs on this machine may have theirs; ours is gone within the wait of ``end``."""
    give_up = time.monotonic() + 10
    while folder.exists() and time.monotonic() < give_up:
        users = {each.pid for each in table() if not each.zombie}
        if users & started:
            time.sleep(0.05)
            continue
        return False
    return folder.exists()


def test_half_a_line_is_no_result(tmp_path, whole):
    path = tmp_path / "r.jsonl"
    data = whole.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][: len(lines[4]) // 2])
    assert len(read(path).results) == 3
    assert resumed(path).returncode == 0
    assert comparable(read(path)) == comparable(read(whole))


def test_what_was_asked_for_is_taken_over(tmp_path, whole):
    lines = whole.read_bytes().splitlines(keepends=True)
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(lines[:4]))
    options = [sys.executable, "-m", "nll_conformance", "check", "--resume", str(path)]
    other = subprocess.run([*options, "--seed", "5"], capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert "its seed is 0, this run's 5" in other.stderr
    assert path.read_bytes() == b"".join(lines[:4])


def test_two_runs_do_not_mix(tmp_path):
    path = tmp_path / "r.jsonl"
    with subprocess.Popen(command("--json", str(path)), stdout=subprocess.DEVNULL) as process:
        give_up = time.monotonic() + 60
        while not path.exists() or not path.stat().st_size:
            assert time.monotonic() < give_up
            time.sleep(0.001)
        second = subprocess.run(
            command("--json", str(path)), capture_output=True, text=True, check=False
        )
    assert process.returncode == 0
    if second.returncode != 0:  # else the first was over when the second began to write
        assert "another run is writing that file" in second.stderr
    assert read(path).complete


def test_a_full_disk_is_said(tmp_path):
    path = tmp_path / "r.jsonl"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    done = subprocess.run(
        command("--json", str(path)),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        timeout=120,
    )
    assert done.returncode == 2
    assert f"cannot write results to {path}: File too large" in done.stderr
    data = path.read_bytes()
    assert data.endswith(b"\n") and all(json.loads(line) for line in data.splitlines())
    assert not read(path).complete
    assert resumed(path).returncode == 0
