"""A picture of time and memory over the size of the vocabulary.

``python -m nll_reports.vocabulary bench.jsonl --output vocabulary.svg`` draws what
``nll-conformance bench --json`` has measured at several shapes: the time of each loss as a
multiple of a copy of the logits, with its interval, and the memory that a call adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nll_conformance.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

#: What one picture can show one of.
CHOICES = ("family", "dtype", "device", "pass")
#: The memory limit is 1 on its own axis.
LEFT_OUT = ("copy",)
#: Colours that remain distinct to the colour-blind (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


def specification(bench: pd.DataFrame, chosen: dict[str, str]) -> dict[str, Any]:
    """The Vega-Lite chart of a table of measurements, two panels side by side.

    ``chosen`` narrows it to one family, dtype, device and pass.  UsageError where it leaves
    several of one, or fewer than two sizes of the vocabulary.
    """
    timed = bench[(bench.outcome == "timed") & ~bench.implementation.isin(LEFT_OUT)]
    for column in CHOICES:
        if column in chosen:
            timed = timed[timed[column] == chosen[column]]
        found = sorted(set(timed[column]))
        if len(found) > 1:
            raise UsageError(f"one picture, one {column}: --{column} {' | '.join(found)}.")
    sizes = sorted(set(timed.classes))
    if len(sizes) < 2:
        raise UsageError(
            f"measurements of {len(sizes)} sizes of the vocabulary, and a line needs two: "
            "nll-conformance bench TARGET --shape 512x8192 --shape 512x32000 --json FILE."
        )
    columns = ["implementation", "rows", "classes", "ratio_to_copy", "added_bytes_ratio"]
    columns += ["ratio_to_copy_low", "ratio_to_copy_high"]
    values = timed[columns].astype(object).where(timed[columns].notna(), None)
    *where, which = (str(timed[column].iloc[0]) for column in CHOICES)
    what = ", ".join([*where, "forward + backward" if which == "both" else which])
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": what,
        "background": "white",
        "data": {"values": values.to_dict("records")},
        "hconcat": [
            _panel("ratio_to_copy", "time / copy of the logits", sizes, "log", interval=True),
            _panel("added_bytes_ratio", "added memory / logits", sizes, "linear"),
        ],
    }


def _panel(
    column: str, title: str, sizes: Sequence[int], scale: str, *, interval: bool = False
) -> dict[str, Any]:
    x = {
        "field": "classes",
        "type": "quantitative",
        "title": "classes",
        "scale": {"type": "log", "nice": False, "padding": 12},
        "axis": {"values": list(sizes), "format": "d", "grid": False, "labelAngle": -45},
    }
    y = {"field": column, "type": "quantitative", "title": title, "scale": {"type": scale}}
    colour = {
        "field": "implementation",
        "type": "nominal",
        "title": None,
        "scale": {"range": list(COLOURS)},
    }
    shape = {"field": "implementation", "type": "nominal", "legend": None}
    encoding = {"x": x, "color": colour}
    layers: list[dict[str, Any]] = [
        {"mark": "line", "encoding": {**encoding, "y": y}},
        {
            "mark": {"type": "point", "filled": True},
            "encoding": {**encoding, "y": y, "shape": shape},
        },
    ]
    if interval:
        ends = {"y": {**y, "field": f"{column}_low"}, "y2": {"field": f"{column}_high"}}
        layers.append({"mark": "rule", "encoding": {**encoding, **ends}})
    return {"width": 300, "height": 260, "layer": layers}


def draw(chart: dict[str, Any], output: Path) -> None:
    """Write the chart; the ending says how: .svg or .png."""
    import vl_convert

    if output.suffix == ".svg":
        output.write_text(vl_convert.vegalite_to_svg(chart), encoding="utf-8")
    elif output.suffix == ".png":
        output.write_bytes(vl_convert.vegalite_to_png(chart, scale=2))
    else:
        raise UsageError(f"{str(output)!r} ends neither in .svg nor in .png.")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; it exits with 2 where there is nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m nll_reports.vocabulary", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="of bench --json")
    parser.add_argument("--output", type=Path, required=True, help=".svg or .png")
    for column in CHOICES:
        parser.add_argument(f"--{column}", help="where the files have several")
    given = parser.parse_args(arguments)
    chosen = {column: getattr(given, column) for column in CHOICES if getattr(given, column)}
    try:
        from .loading import load

        draw(specification(load(given.files).bench, chosen), given.output)
    except ImportError as error:
        parser.error(f"{error}: pip install 'nll-conformance[report]'")
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
