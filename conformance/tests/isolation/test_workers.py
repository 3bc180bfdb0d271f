"""Every way in which a worker can end is told apart, and the next one works."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nll_conformance.isolation import (
    ForkServer,
    Worker,
    WorkerDied,
    WorkerLost,
    WorkerOutOfMemory,
    WorkerTimedOut,
)
from nll_conformance.isolation.processes import table

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")


def running(pid: int) -> bool:
    """Whether ``pid`` exists and is no zombie."""
    return any(one.pid == pid and not one.zombie for one in table())


def lose(worker: Worker, what: str, seconds: float = 10) -> WorkerLost:
    """Have the worker do something that costs its life; its announcement came before."""
    worker.send({"do": what})
    deadline = time.monotonic() + seconds
    assert worker.receive(deadline=deadline) == {"announced": what}
    with pytest.raises(WorkerLost) as caught:
        worker.receive(deadline=deadline)
    assert not running(worker.pid)
    with pytest.raises(type(caught.value)):  # and stays lost
        worker.receive(deadline=None)
    return caught.value


def do(worker: Worker, what: str) -> object:
    """Have the worker do something that it survives."""
    worker.send({"do": what})
    worker.receive(deadline=time.monotonic() + 10)
    return worker.receive(deadline=time.monotonic() + 10)["result"]


def test_echo_of_large_messages(worker: Worker) -> None:
    for size in (1, 10, 4_000_000):
        worker.send({"x": "y" * size})
        assert worker.receive(deadline=time.monotonic() + 10) == {"x": "y" * size}


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("segfault", "signal SIGSEGV"),
        ("kill_itself", "signal SIGKILL"),
        ("abort", "signal SIGABRT"),
        ("recurse", "signal SIGSEGV"),
        ("leave", "exit code 0"),
        ("sys_exit", "exit code 0"),
        ("raise_interrupt", "exit code 1"),
        ("close_descriptors", "closed its channel"),
        ("die_but_keep_channel", "exit code 3"),
    ],
)
def test_deaths(server: ForkServer, what: str, reason: str) -> None:
    with server.worker() as worker:
        lost = lose(worker, what)
    assert (type(lost), lost.reason) == (WorkerDied, reason)
    with server.worker() as worker:
        worker.send({"n": 1})
        assert worker.receive(deadline=time.monotonic() + 5) == {"n": 1}


def test_the_last_words_are_kept(worker: Worker) -> None:
    lost = lose(worker, "segfault")
    assert lost.tail.startswith("last words\n")
    assert "isolation_entries.py" in lost.tail  # the Python stack of a native crash


@pytest.mark.parametrize("what", ["hang", "sleep_natively", "spin_natively", "stop_itself"])
def test_hangs(server: ForkServer, what: str) -> None:
    start = time.monotonic()
    with server.worker() as worker:
        lost = lose(worker, what, seconds=0.3)
    assert (type(lost), lost.reason) == (WorkerTimedOut, "no answer within 0.3 s")
    assert time.monotonic() - start < 2


def test_endless_output_is_no_answer(worker: Worker) -> None:
    lost = lose(worker, "print_forever", seconds=0.5)
    assert type(lost) is WorkerTimedOut
    assert 0 < len(lost.tail) <= 4096
    assert "\x1b" not in lost.tail


def test_much_output_does_not_block(worker: Worker) -> None:
    do(worker, "print_much")
    assert worker.output_tail().endswith("xxxend")


def test_closing_low_descriptors_does_no_harm(worker: Worker) -> None:
    do(worker, "close_standard")
    worker.send({"n": 1})
    assert worker.receive(deadline=time.monotonic() + 5) == {"n": 1}


@pytest.mark.parametrize("what", ["grow", "grow_in_child"])
def test_memory(worker: Worker, what: str) -> None:
    lost = lose(worker, what, seconds=20)
    expected = (WorkerOutOfMemory, "resident memory above 512 MB")
    assert (type(lost), lost.reason) == expected


@pytest.mark.parametrize(("what", "why"), [("forge", "not JSON"), ("flood", "above 67108864")])
def test_what_is_no_message_ends_a_worker(worker: Worker, what: str, why: str) -> None:
    lost = lose(worker, what)
    assert type(lost) is WorkerDied
    assert why in lost.reason


@pytest.mark.parametrize("end", ["close", "kill", "segfault"])
def test_no_descendant_survives(server: ForkServer, end: str) -> None:
    with server.worker() as other, server.worker() as worker:
        theirs = do(other, "leave_children")
        pids = do(worker, "leave_children")
        assert isinstance(pids, list)
        assert isinstance(theirs, list)
        assert all(running(pid) for pid in pids + theirs)
        if end == "segfault":
            lose(worker, end)
        else:
            getattr(worker, end)()
        assert not any(running(pid) for pid in [worker.pid, *pids])
        # Only a daemon, which nobody can attribute, may go with a neighbour.
        assert all(running(pid) for pid in theirs[:2])
    assert not any(running(pid) for pid in theirs)


def test_threads_that_never_end_do_not_delay_leaving(server: ForkServer) -> None:
    with server.worker() as worker:
        do(worker, "endless_threads")
        start = time.monotonic()
    assert time.monotonic() - start < 0.45  # no wait until the kill


def test_kill_from_another_thread(worker: Worker) -> None:
    worker.send({"do": "hang"})
    threading.Timer(0.2, worker.kill).start()
    worker.receive(deadline=None)
    with pytest.raises(WorkerDied, match="killed by the supervisor"):
        worker.receive(deadline=None)


def test_workers_in_parallel(server: ForkServer) -> None:
    ways = ["segfault", "hang", "leave", "echo"] * 3

    def one(what: str) -> str:
        with server.worker(memory_limit_mb=512) as worker:
            for n in range(50):
                worker.send({"n": n})
                assert worker.receive(deadline=time.monotonic() + 10) == {"n": n}
            return what if what == "echo" else lose(worker, what, seconds=1).reason

    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(one, ways))
    assert ends == ["signal SIGSEGV", "no answer within 1 s", "exit code 0", "echo"] * 3


def test_a_worker_is_an_ordinary_child_of_nobody_here(worker: Worker) -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(worker.pid, os.WNOHANG)
