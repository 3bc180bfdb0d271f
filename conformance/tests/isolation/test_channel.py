"""Messages arrive whole, in order, or not at all."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nll_conformance.errors import SuiteError
from nll_conformance.isolation import Channel, ChannelClosed, ChannelGarbled, ChannelTimeout
from nll_conformance.isolation import channel as channel_module
from nll_conformance.isolation.output import Output, harmless


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    left, right = (Channel(end) for end in socket.socketpair())
    yield left, right
    left.close()
    right.close()


def test_messages_keep_their_order_and_text(ends: tuple[Channel, Channel]) -> None:
    sent: list[dict[str, Any]] = [{"a": 1, "b": [None, 1.5, "é\n\ud800"]}, {}, {"n": 10**30}]
    for message in sent:
        ends[0].send(message)
    assert [ends[1].receive(1) for _ in sent] == sent


def test_both_ends_can_send_long_messages_at_once(ends: tuple[Channel, Channel]) -> None:
    long = {"x": "y" * 5_000_000}
    received: list[dict[str, Any]] = []

    def exchange(end: Channel) -> None:
        end.send(long, timeout_s=10)
        received.append(end.receive(10))

    thread = threading.Thread(target=exchange, args=(ends[0],))
    thread.start()
    exchange(ends[1])
    thread.join()
    assert received == [long, long]


def test_what_was_sent_before_the_end_is_received(ends: tuple[Channel, Channel]) -> None:
    ends[1].send({"never": "read"})
    ends[0].send({"n": 1})
    ends[0].close()
    assert ends[1].receive(1) == {"n": 1}
    with pytest.raises(ChannelClosed):
        ends[1].receive(1)
    with pytest.raises(ChannelClosed):
        ends[1].send({})


def test_a_timeout_keeps_what_came(ends: tuple[Channel, Channel]) -> None:
    os.write(ends[0].fileno(), b'{"n":')
    start = time.monotonic()
    with pytest.raises(ChannelTimeout):
        ends[1].receive(0.05)
    assert time.monotonic() - start < 1
    os.write(ends[0].fileno(), b"1}\n")
    assert ends[1].receive(1) == {"n": 1}


def test_sending_to_nobody_who_reads_times_out(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ChannelTimeout):
        ends[0].send({"x": "y" * 5_000_000}, timeout_s=0.05)


@pytest.mark.parametrize(
    "line", [b"\xff\n", b"[1]\n", b'{"a": NaN}\n', b"[" * 200_000 + b"\n", b"1" * 5000 + b"\n"]
)
def test_what_is_no_message_is_refused(ends: tuple[Channel, Channel], line: bytes) -> None:
    threading.Thread(target=os.write, args=(ends[0].fileno(), line + b"{}\n")).start()
    with pytest.raises(ChannelGarbled):
        ends[1].receive(5)
    with pytest.raises(ChannelClosed):
        ends[1].receive(1)


def test_messages_are_bounded(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(SuiteError, match="above 1000"):
        ends[0].send({"x": "y" * 2000})
    os.write(ends[0].fileno(), b"x" * 2000)
    with pytest.raises(ChannelGarbled, match="above 1000"):
        ends[1].receive(1)


def test_numbers_that_json_lacks_are_refused(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        ends[0].send({"x": float("nan")})


def test_output_keeps_the_end_and_makes_it_harmless() -> None:
    reading, writing = os.pipe()
    output = Output(reading)
    os.write(writing, "é".encode() * 3000 + b"!\x1b[2J\xff")
    output.drain()
    os.close(writing)
    output.drain()
    text = output.text()
    output.close()
    assert text.startswith("é")
    assert text.endswith("!\\x1b[2J\N{REPLACEMENT CHARACTER}")
    assert len(text) <= 4096
    assert output.ended


def test_harmless_keeps_lines_and_shows_the_invisible() -> None:
    assert harmless("a\r\nb\tc\rd\u202e\ud800é\x00") == ("a\nb\tc\\rd\\u202e\\ud800é\\x00")
