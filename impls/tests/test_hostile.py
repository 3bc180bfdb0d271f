"""Hostile losses are survived, reported as what they are, and leave nothing behind."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from nll_conformance.discover import rules_of
from nll_conformance.isolation import ForkServer
from nll_conformance.isolation.processes import table
from nll_conformance.model import Hostile
from nll_conformance.options import Options
from nll_conformance.render.junit import junit
from nll_conformance.render.markdown import markdown
from nll_conformance.render.terminal import show
from nll_conformance.results import encode, tame
from nll_conformance.runner import PRELOAD
from nll_conformance.session import Session
from nll_conformance.survival import face
from nll_impls.hostile import hostile

ALL = {harmful.implementation.name.removeprefix("hostile."): harmful for harmful in hostile()}
#: One of each kind; `nll-conformance selftest --hostile` tries them all.
SOME = (
    "deaths.exits_without_a_word",
    "deaths.sys_exit_in_backward",
    "deaths.keyboard_interrupt",
    "deaths.null_pointer",
    "deaths.memory_at_once",
    "hangs.swallows_everything",
    "imports.exits",
    "imports.once",
    "imports.replaces",
    "lying.agreeable_tensor",
    "lying.right_for_the_suite",
    "processes.both_return",
    "processes.leaves_a_daemon_and_dies",
    "processes.leaves_children",
    "surroundings.covers_every_descriptor",
    "surroundings.fills_the_temporary_folder",
    "tampering.modules_replaced",
    "tampering.nothing_is_wrong",
    "texts.forged_lines_everywhere",
    "texts.message_of_a_class_of_its_own",
)
#: What can be survived without a process of its own.
WITHIN = (
    "deaths.keyboard_interrupt",
    "deaths.recursion",
    "deaths.sys_exit_in_backward",
    "imports.leaves",
    "tampering.gradients_off",
    "tampering.judges_replaced",
    "texts.message_that_raises",
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def test_there_are_enough_and_each_says_what_it_does() -> None:
    assert len(ALL) == len(hostile()) >= 40
    known = rules_of("cross_entropy")
    for harmful in ALL.values():
        assert harmful.harm.endswith(".")
        assert harmful.outcome not in ("pass", "not_run")
        assert harmful.outcome == "refused" or harmful.rules
        assert set(harmful.rules + harmful.others) <= set(known)
        assert not set(harmful.rules) & set(harmful.others)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """One for all, as hostile losses are neighbours in a real run, too."""
    before = traces()
    with ForkServer(preload=PRELOAD) as server:
        yield server
    give_up = time.monotonic() + 5
    while traces() != before and time.monotonic() < give_up:
        time.sleep(0.05)
    assert traces() == before, "something is left behind"


def traces() -> tuple[set[str], int, set[int], set[str]]:
    """Open descriptors, threads, descendants, temporary folders of ours."""
    found = {os.getpid()}
    while more := {one.pid for one in table() if one.parent in found} - found:
        found |= more
    descriptors = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    ours = {
        str(path)
        for path in Path(tempfile.gettempdir()).glob("nll-conformance-*")
        if path.stat().st_uid == os.getuid() and _of(path, found)
    }
    return descriptors, threading.active_count(), found, ours


def _of(path: Path, processes: set[int]) -> bool:
    """Whether one of these processes works with that folder."""
    for process in processes:
        try:
            told = Path(f"/proc/{process}/environ").read_bytes()
        except OSError:
            continue
        if str(path).encode() in told:
            return True
    return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
@pytest.mark.parametrize("name", SOME)
def test_in_a_worker(server: ForkServer, name: str) -> None:
    fate = face(ALL[name], server, timeout=6.0)
    assert fate.good, fate


@pytest.mark.parametrize("name", WITHIN)
def test_within_the_process(name: str) -> None:
    fate = face(ALL[name], isolation=False)
    assert fate.good, fate


def report_of(harmful: Hostile, server: ForkServer) -> Session:
    options = Options(profile="quick", dtype=("float32",), rules=harmful.rules, jobs=1)
    session = Session([harmful.implementation.name], options, server=server)
    session.run()
    return session


@pytest.mark.parametrize(
    "name", ["texts.evil_message", "texts.name_of_megabytes", "texts.last_words_of_a_megabyte"]
)
def test_what_it_says_is_harmless_everywhere(server: ForkServer, name: str) -> None:
    session = report_of(ALL[name], server)
    stream = io.StringIO()
    show(session.report, session.rules, stream=stream)
    lines = b"".join(encode(tame(result).to_json()) for result in session.report.results)
    texts = [
        stream.getvalue(),
        lines.decode(),
        junit(session.report),
        markdown(session.report, session.rules),
    ]
    for text in texts:
        assert not CONTROL.search(text)
        assert len(text) < 20_000
    ET.fromstring(texts[2])
    assert "<script>" not in texts[2]
    assert "<script>" not in re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", texts[3]), "outside of code"


@pytest.mark.parametrize("how", [(), ("-n", "2")])
def test_under_pytest(tmp_path: Path, how: tuple[str, ...]) -> None:
    names = ("deaths.exits_without_a_word", "texts.evil_message", "hangs.sleeps")
    targets = [word for name in names for word in ("--nll-impl", f"hostile.{name}")]
    rules = ("values.plain_mean", "label_smoothing.rows", "splits.batch")
    chosen = [word for rule in rules for word in ("--nll-rules", rule)]
    quick = ("--nll-profile", "quick", "--nll-dtype", "float32", "--nll-timeout", "4")
    report = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *targets, *chosen, *quick, *how],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=240,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 failed, 6 passed" in done.stdout
    for said in ("exit code 0", "RuntimeError", "no answer within 4 s"):
        assert said in done.stdout
    assert not CONTROL.search(done.stdout)
    ET.parse(report)
