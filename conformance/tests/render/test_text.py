"""Foreign text becomes harmless: bounded, printable, and the same when done twice."""

from __future__ import annotations

import pytest

from nll_conformance.render.text import counted, ending, harmless, named, one_line, shell

HOSTILE = [
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\x9b2J C1",
    "nul \x00 bell \x07 del \x7f",
    "surrogate \udcff\ud800",
    "right-to-left \u202e zero width \u200b\ufeff separator \u2028",
    "carriage\rreturn",
    "tag \U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_only_printable_text_is_left(text: str) -> None:
    shown = harmless(text)
    assert all(char.isprintable() for char in shown)
    assert shown.encode("utf-8")
    assert harmless(shown) == shown


def test_ordinary_text_stays_as_it_is() -> None:
    text = "größer als √2\n\tline two <b>`|` ✓ 日本"
    assert harmless(text) == text
    assert one_line(text) == "größer als √2\\n\\tline two <b>`|` ✓ 日本"


def test_invalid_utf8_is_shown_as_escapes() -> None:
    assert harmless(b"a\xff\xfeb") == "a\\xff\\xfeb"


@pytest.mark.parametrize("limit", [0, 1, 10, 80, 2000])
@pytest.mark.parametrize("unit", ["x", "\x1b", "\n", "\U000e0041", "é"])
def test_megabytes_are_cut_to_the_limit(limit: int, unit: str) -> None:
    for shorten in (harmless, one_line):
        assert len(shorten(unit * 2_000_000, limit)) <= limit
    assert len(harmless(unit.encode() * 1_000_000, limit)) <= limit


def test_long_names_keep_their_ends() -> None:
    name = "/home/me/some/where/losses.py:fused\x1b[31m_loss"
    assert ending(name, 80) == one_line(name)
    assert ending(name, 20) == "...used\\x1b[31m_loss"
    assert len(ending(name, 20)) == 20


def test_what_was_cut_says_how_long_it_was() -> None:
    assert harmless("x" * 5000, 100).endswith("...(5000 characters)")


def test_words() -> None:
    assert (counted(1, "rule"), counted(2, "rule")) == ("1 rule", "2 rules")
    assert named(["a", "b", "c"], 2) == "a, b and 1 more"
    assert shell("check", "my file.py:f", "a;rm") == "check 'my file.py:f' 'a;rm'"
