"""The server starts in the background, serves, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nll_conformance.errors import SuiteError
from nll_conformance.isolation import ForkServer, Worker, WorkerLost
from nll_conformance.isolation.processes import table

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")

HERE = Path(__file__).parent
ECHO = "isolation_entries:serve"
SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
from nll_conformance.isolation import ForkServer
server = ForkServer(entry="isolation_entries:serve", preload=())
worker = server.worker()
worker.send({{"do": {do!r}}})
print(worker.receive(deadline=None))
"""


def echo(worker: Worker) -> None:
    worker.send({"n": 1})
    assert worker.receive(deadline=time.monotonic() + 60) == {"n": 1}


def alive(pids: list[int]) -> list[int]:
    return [one.pid for one in table() if one.pid in pids and not one.zombie]


def gone(pids: list[int], seconds: float = 10) -> bool:
    """Whether all of them end within that time."""
    give_up = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not alive(pids)


def traces() -> tuple[set[str], int, set[int]]:
    """Open descriptors, threads, child processes."""
    children = {one.pid for one in table() if one.parent == os.getpid()}
    fds = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    return fds, threading.active_count(), children


def test_nothing_is_left_after_close() -> None:
    before = traces()
    with ForkServer(entry=ECHO, preload=()) as server:
        idle, lost, kept = server.worker(), server.worker(), server.worker()
        echo(idle)
        kept.send({"do": "leave_children"})
        kept.receive(deadline=None)
        pids = [idle.pid, lost.pid, kept.pid]
        pids += kept.receive(deadline=None)["result"]
        lost.send({"do": "segfault"})
        lost.receive(deadline=None)
        with pytest.raises(WorkerLost):
            lost.receive(deadline=None)
    assert not alive(pids)
    assert traces() == before
    with pytest.raises(SuiteError, match="closed"):
        server.worker()


def test_a_closed_server_ends_a_wait_in_another_thread() -> None:
    before = traces()
    seen: list[BaseException] = []

    def wait(worker: Worker) -> None:
        try:
            worker.receive(deadline=None)
        except (SuiteError, WorkerLost) as error:
            seen.append(error)

    with ForkServer(entry=ECHO, preload=()) as server:
        threads = [threading.Thread(target=wait, args=(server.worker(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(5)
    assert len(seen) == 3
    assert traces() == before


def test_a_supervisor_that_is_killed_leaves_no_orphan() -> None:
    script = SCRIPT.format(here=str(HERE), do="leave_children")
    script += "print(*worker.receive(deadline=None)['result'], worker.pid, flush=True)\n"
    script += "print(server._process.pid, flush=True)\ntime.sleep(1000)\n"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        pids = [int(word) for word in " ".join(lines[1:]).split()]
        assert sorted(alive(pids)) == sorted(pids)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(pids)


def test_a_server_that_is_killed_is_named_and_takes_its_workers_along() -> None:
    before = traces()
    with ForkServer(entry=ECHO, preload=()) as server:
        worker = server.worker()
        worker.send({"do": "hang"})
        worker.receive(deadline=None)
        assert server._process is not None
        server._process.kill()
        with pytest.raises(SuiteError, match="the fork server died \\(signal SIGKILL\\)"):
            worker.receive(deadline=None)
        with pytest.raises(SuiteError, match="the fork server"):
            server.worker()
        worker.close()
    assert gone([worker.pid])
    assert traces() == before


def test_what_cannot_be_imported_is_the_suites_error() -> None:
    before = traces()
    with ForkServer(entry=ECHO, preload=("no_such_module",)) as server:
        for _ in range(2):
            with pytest.raises(SuiteError, match="No module named 'no_such_module'"):
                server.worker()
    assert traces() == before


def test_a_script_without_main_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(HERE), do="segfault") + "server.close()\n")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "{'announced': 'segfault'}\n"
    assert done.stderr == ""


def test_the_supervisor_imports_neither_torch_nor_hypothesis() -> None:
    check = (
        "import sys, nll_conformance.isolation;"
        "print(sorted({'torch', 'hypothesis', 'numpy', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_interrupted_request_does_not_mix_up_the_answers(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.worker() as worker, server.worker() as other:
        with monkeypatch.context() as patch:
            patch.setattr(server._control, "receive", lambda _: raise_interrupt())
            with pytest.raises(KeyboardInterrupt):
                server.worker()
        for one in (worker, other):
            one.send({"do": "leave"})
            one.receive(deadline=None)
            with pytest.raises(WorkerLost, match="exit code 0"):
                one.receive(deadline=None)


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def test_starting_does_not_wait_and_ctrl_c_does_not_reach_the_server() -> None:
    with ForkServer(entry=ECHO, environment={"NLL_TEST": "1"}) as server:
        assert not server._ready
        assert server._process is not None
        assert os.getpgid(server._process.pid) != os.getpgid(0)
        worker = server.worker()
        worker.send({"do": "tell_environment"})
        worker.receive(deadline=None)
        assert worker.receive(deadline=None)["result"]["NLL_TEST"] == "1"


def test_forking_beside_torch_is_fast_and_safe() -> None:
    with ForkServer(entry="isolation_entries:serve_torch", preload=("torch",)) as server:
        taken = []
        for _ in range(7):
            start = time.monotonic()
            with server.worker() as worker:
                taken.append(time.monotonic() - start)
                for _again in range(2):
                    worker.send({})
                    answer = worker.receive(deadline=time.monotonic() + 30)
                    assert answer["cuda"] is False
                assert answer["threads"] == 2
        assert sorted(taken)[3] < 0.1  # the median: the first one waits for torch


def test_spawned_workers_behave_alike() -> None:
    before = traces()
    with ForkServer(entry=ECHO, preload=(), method="spawn") as server:
        with server.worker() as worker:
            echo(worker)
            worker.send({"do": "segfault"})
            worker.receive(deadline=None)
            with pytest.raises(WorkerLost, match="signal SIGSEGV"):
                worker.receive(deadline=time.monotonic() + 10)
        with server.worker() as worker:
            echo(worker)
    assert traces() == before
