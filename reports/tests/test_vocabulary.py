"""The picture of time and memory over the size of the vocabulary."""

from __future__ import annotations

import pytest

from nll_reports import load
from nll_reports.vocabulary import main, specification


def test_every_loss_has_a_line_with_its_interval(given):
    chart = specification(load([given / "inputs" / "bench.jsonl"]).bench, {"pass": "both"})
    values = chart["data"]["values"]
    assert {row["implementation"] for row in values} == {"right", "wrong", "other version"}
    assert {row["classes"] for row in values} == {1000, 32000, 128256}
    row = next(row for row in values if row["implementation"] == "right")
    assert row["ratio_to_copy_low"] < row["ratio_to_copy"] < row["ratio_to_copy_high"]
    time, memory = (panel["layer"][0]["encoding"]["y"]["field"] for panel in chart["hconcat"])
    assert (time, memory) == ("ratio_to_copy", "added_bytes_ratio")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_command_draws(given, tmp_path, ending):
    picture = tmp_path / f"vocabulary.{ending}"
    arguments = [str(given / "inputs" / "bench.jsonl"), "--pass", "both", "--output", str(picture)]
    main(arguments)
    head = {"svg": b"<svg", "png": b"\x89PNG"}[ending]
    assert picture.read_bytes().startswith(head)
    if ending == "svg":
        text = picture.read_text(encoding="utf-8")
        assert "other version" in text and "128256" in text and "time / copy" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one picture, one pass: --pass backward | both | forward."),
        (["--pass", "both", "--dtype", "float16"], "measurements of 0 sizes"),
    ],
)
def test_what_cannot_be_drawn_says_why(given, tmp_path, capsys, arguments, told):
    file = str(given / "inputs" / "bench.jsonl")
    with pytest.raises(SystemExit, match="2"):
        main([file, *arguments, "--output", str(tmp_path / "picture.svg")])
    assert told in capsys.readouterr().err


def test_another_ending_is_refused(given, tmp_path, capsys):
    file = str(given / "inputs" / "bench.jsonl")
    with pytest.raises(SystemExit, match="2"):
        main([file, "--pass", "both", "--output", str(tmp_path / "picture.gif")])
    assert "ends neither in .svg nor in .png" in capsys.readouterr().err
