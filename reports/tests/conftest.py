"""A small site with one of everything, made once; the browser that the page is driven in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages

pytest.importorskip("pandas", reason="the extra `report` is not installed")
pytest.importorskip("vl_convert", reason="the extra `report` is not installed")

import invented
import invented_large

from nll_reports import build, load


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """A folder with one input of each kind, and the history of a dozen runs."""
    folder = tmp_path_factory.mktemp("given")
    invented.everything(folder)
    rules = ["values.plain_mean", "ignore_index.default"]
    invented_large.past(folder / "history", 3, rules, ("float32",), 12, ("512x32000",))
    return folder


@pytest.fixture(scope="session")
def frames(given):
    return load([given / "inputs", given / "asv"], past=given / "history")


@pytest.fixture(scope="session")
def site(frames, tmp_path_factory):
    """The address of the small site's page."""
    folder = tmp_path_factory.mktemp("site")
    build(frames, folder, title="invented losses")
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `test` has playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    # The suite's own folder for cached browsers is never used: this is the system's.
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", "0")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page that fails the test on an error, a warning of the policy, or any request."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("request", lambda r: None if _local(r.url) else wrong.append(f"request: {r.url}"))
    yield page
    context.close()
    assert not wrong


def _local(url: str) -> bool:
    file = url.partition("#")[0]
    return url == "data:," or (file.startswith("file:") and file.endswith("/index.html"))
