"""Losses on real process groups: right, quick to fail, and gone with whoever uses them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nll_impls.ranks import caller
from nll_impls.ranks.parcels import Parcel
from nll_impls.ranks.rank import RankLoss

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="this torch has no gloo"
)


def prepare() -> Callable[[], RankLoss]:
    """What the ranks of these tests compute; they import this file by its name."""
    import torch.distributed as dist

    groups: dict[int, Any] = {}

    def join() -> RankLoss:
        for count in range(1, 5):
            groups[count] = dist.new_group(list(range(count)))
        return RankLoss(call)

    def call(
        shard: Tensor,
        target: Tensor,
        weight: Tensor | None,
        *,
        ranks: int,
        fault: str = "",
        **_: Any,
    ) -> Tensor:
        me = dist.get_rank()
        if me == 1 and fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if me == 1 and fault == "raises":
            raise IndexError("not for me")
        if fault == "overwrites":
            shard.detach().fill_(me)
        total = shard.detach().exp().sum(-1)
        dist.all_reduce(total, group=groups[ranks])
        return (shard.exp().sum(-1) / total).sum()

    return join


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[..., Tensor]]:
    place = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (place, before)))
    yield caller.on_ranks("test_ranks:prepare")
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


X = torch.tensor([[0.0, 1.0, 2.0, -1.0], [1.0, 1.0, 0.5, 2.0]])
T = torch.tensor([2, 0])


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_each_rank_has_its_shard(shared: Callable[..., Tensor], ranks: int) -> None:
    x = X.clone().requires_grad_()
    parts = shared(x, T, ranks=ranks)
    # Each returns the share of all probability that its classes have.
    assert parts.shape == (ranks,)
    torch.testing.assert_close(parts.sum(), torch.tensor(2.0))
    parts.backward(torch.arange(1.0, ranks + 1))
    size = -(-4 // ranks)
    weights = torch.tensor([1.0 + place // size for place in range(4)])
    torch.testing.assert_close(x.grad, X.softmax(-1) * weights)


@pytest.mark.parametrize("fault", ["raises", "dies"])
def test_what_happens_to_a_rank_is_told_and_the_next_call_works(
    shared: Callable[..., Tensor], fault: str
) -> None:
    error, text = {
        "raises": (IndexError, "rank 1 of 2: not for me"),
        "dies": (caller.RankError, "died"),
    }[fault]
    start = time.monotonic()
    with pytest.raises(error, match=text):
        shared(X, T, ranks=2, fault=fault)
    assert time.monotonic() - start < caller.ANSWER_S / 2
    torch.testing.assert_close(shared(X, T, ranks=2).sum(), torch.tensor(2.0))


def test_backward_of_ranks_that_are_gone_is_refused(shared: Callable[..., Tensor]) -> None:
    loss = shared(X.clone().requires_grad_(), T)
    with pytest.raises(caller.RankError):
        shared(X, T, fault="dies")
    with pytest.raises(RuntimeError, match="ranks that are gone"):
        loss.sum().backward()


def test_what_a_rank_does_to_its_shard_happens_to_the_logits(shared: Callable[..., Tensor]) -> None:
    x = X.clone()
    shared(x, T, fault="overwrites")
    assert x.tolist() == [[0, 0, 1, 1]] * 2


def test_too_many_ranks_are_refused(shared: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="at most 4 ranks, not 5"):
        shared(torch.zeros(1, 10), T[:1], ranks=5)


def test_a_package_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(caller.RankError, match="nll_absent"):
        caller.on_ranks("nll_absent:prepare", at_once=True)


KILLED = """
import os, sys
sys.path.insert(0, {place!r})
import torch
from nll_impls.ranks import caller
loss = caller.on_ranks("test_ranks:prepare")
loss(torch.zeros(1, 4), torch.tensor([0]))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc for processes")
def test_ranks_end_with_whoever_uses_them() -> None:
    place = str(Path(__file__).parent)
    user = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(place=place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": place},
    )
    assert user.stdin is not None and user.stdout is not None
    with user.stdin, user.stdout:
        assert user.stdout.readline() == b"ready\n"
        started = children(user.pid)
        assert len(started) == 5
        user.kill()
        user.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, started))


def children(parent: int) -> list[int]:
    """The processes below one, by /proc."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and facts(number := int(entry.name))[1:2] == [str(parent)]:
            found += [number, *children(number)]
    return found


def facts(process: int) -> list[str]:
    """What /proc/PID/stat says behind the name: state, parent; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def alive(process: int) -> bool:
    return facts(process)[:1] not in ([], ["Z"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_parcels_keep_numbers_shapes_and_strides(dtype: torch.dtype) -> None:
    numbers = torch.arange(24).reshape(4, 6).to(dtype)
    views = (
        numbers,
        numbers.t(),
        numbers[:, ::2],
        numbers[1:3, 1:2],
        numbers[:1].expand(3, 6),
        numbers[:0],
    )
    for view in views:
        back = Parcel.of(view).open()
        assert back.dtype == dtype and torch.equal(back, view)
        assert back.stride() == view.stride() or back.numel() == 0
    far = torch.zeros(1).expand(2, 3).as_strided((1, 1), (10**6, 1))
    assert Parcel.of(far).data == bytes(4)


def test_loss_parallel_is_pytorchs() -> None:
    from nll_impls.third_party.loss_parallel import load

    x = X.clone().requires_grad_()
    losses = load()(x, T, ranks=4)
    losses.sum().backward()
    plain = X.clone().requires_grad_()
    want = F.cross_entropy(plain, T)
    want.backward()
    torch.testing.assert_close((losses, x.grad), (want.expand(4), plain.grad))
