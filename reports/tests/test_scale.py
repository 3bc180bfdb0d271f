"""The size of a large project: 60 implementations x 120 rules x 4 dtypes, 200 commits."""

from __future__ import annotations

import time

import invented_large
import pytest

from nll_reports import build, load

BUILD_SECONDS, SITE_BYTES, FILTER_MS = 15, 10_000_000, 200


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    invented_large.large(folder)
    start = time.process_time()  # of this process: other programs do not count
    frames = load([folder / "results.jsonl", folder / "bench.jsonl"], past=folder / "history")
    build(frames, folder / "site")
    return folder / "site", time.process_time() - start


def test_a_large_site_is_built_soon_and_stays_small(large):
    site, seconds = large
    assert seconds < BUILD_SECONDS
    assert sum(file.stat().st_size for file in site.iterdir()) < SITE_BYTES
    assert (site / "summary.md").stat().st_size < 2**20


def test_the_large_matrix_answers_a_filter_at_once(large, page):
    site, _ = large
    page.goto(f"{(site / 'index.html').as_uri()}#/matrix")
    page.wait_for_selector(".matrix")
    devtools = page.context.new_cdp_session(page)
    # Processor time of the page's thread, with layout and painting: other programs do not count.
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    took = []
    for value in ("bfloat16", "float32", "float64"):
        before = busy(devtools)
        page.select_option("select[name=dtype]", value)
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        took.append(busy(devtools) - before)
    assert page.locator(".matrix tbody tr:not(.group)").count() == 60
    assert sorted(took)[1] < FILTER_MS


def busy(devtools):
    """Processor time of the page so far, in ms."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return 1e3 * next(m["value"] for m in metrics if m["name"] == "TaskDuration")
