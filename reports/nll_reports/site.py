"""The site: one page that works from a file, offline, and asks nothing of any network.

Data, style and scripts are embedded.  A content security policy admits no script but these
(by their hash) and no request at all, whatever names and messages the data hold.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nll_conformance import __version__, discover
from nll_conformance.errors import UsageError

from . import badge, markdown
from .analysis import Analysis, analyse
from .frames import Frames
from .views import accuracy, detection, failures, history, matrix, speed

TEMPLATES = Path(__file__).parent / "templates"
#: Scripts of the page, in this order.
SCRIPTS = (
    "dom", "data", "route", "filters", "charts", "matrix", "implementation", "rule", "failures",
    "accuracy", "speed", "history", "detection", "main",
)  # fmt: skip


#: What the library of charts leaves for the page's own script.
_EMBED = "window.vegaEmbed = vegaEmbed;"


@dataclass(frozen=True)
class Built:
    """What :func:`build` wrote, and what the reader of the site is told about it."""

    files: tuple[Path, ...]
    notices: tuple[str, ...]


def build(
    frames: Frames, output: str | os.PathLike[str], *, title: str = "nll-conformance"
) -> Built:
    """Write ``index.html``, ``summary.md`` and ``badge.json`` into the folder ``output``."""
    if frames.empty:
        raise UsageError("no results to show.")
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}.") from None
    found = analyse(frames)
    contents = {
        "index.html": page(payload(found, title), title),
        "summary.md": markdown.markdown(found, title),
        "badge.json": badge.badge(found),
    }
    files = []
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
        files.append(folder / name)
    told = tuple(": ".join(filter(None, (n["source"], n["text"]))) for n in found.notices)
    return Built(tuple(files), told)


def payload(found: Analysis, title: str) -> dict[str, Any]:
    """All that the page knows, as JSON."""
    return {
        "title": title,
        "version": __version__,
        "notices": [[notice["source"], notice["text"]] for notice in found.notices],
        "matrix": matrix.payload(found, discover.rules()),
        "failures": failures.payload(found.results),
        "accuracy": accuracy.payload(found),
        "speed": speed.payload(found),
        "history": history.payload(found),
        "detection": detection.payload(found),
    }


def page(data: Mapping[str, Any], title: str) -> str:
    """The whole document."""
    import jinja2
    import vl_convert

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, keep_trailing_newline=True
    )
    scripts = "\n".join(
        (TEMPLATES / "app" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS
    )
    application = f'(() => {{\n"use strict";\n{scripts}\n}})();\n'
    charts = vl_convert.javascript_bundle(_EMBED)
    assert "</script" not in charts.lower(), "it would end its own element"
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return environment.get_template("page.html").render(
        title=title,
        version=__version__,
        data=_inert(text),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        application=application,
        charts=charts,
        hashes=[_hash(application), _hash(charts)],
        verdicts=data["matrix"]["implementations"],
    )


def _inert(text: str) -> str:
    """JSON that cannot end the element that it stands in."""
    return text.replace("<", "\\u003c")


def _hash(script: str) -> str:
    """The script's source expression in a content security policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
