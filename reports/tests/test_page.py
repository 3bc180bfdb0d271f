"""The real page in a real browser: every view, filter, address and button."""

from __future__ import annotations

import json
from urllib.parse import quote

import invented
import pytest

VIEWS = ("matrix", "failures", "accuracy", "speed", "history", "detection")
WRONG = "failure/wrong/ignore_index.default/float32/cpu"
PLACES = (*VIEWS, "implementation/wrong", "rule/ignore_index.default", WRONG, "history/run/3")


def open_at(page, site, place=""):
    page.goto(f"{site}#/{place}")
    page.wait_for_function("document.querySelector('main h1') !== null")
    page.wait_for_function(
        "[...document.querySelectorAll('.chart')]"
        ".every(chart => chart.dataset.drawn || !chart.checkVisibility())"
    )


def rows(page):
    return page.locator(".matrix tbody tr:not(.group) th").all_inner_texts()


@pytest.mark.parametrize("place", PLACES)
def test_every_address_opens_its_view_and_names_it(page, site, place):
    open_at(page, site, place)
    assert page.locator("main h1").count() == 1
    assert page.title().endswith("· invented losses")
    assert "No such" not in page.inner_text("main h1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_finds_nothing_serious(page, site, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    options = {"resultTypes": ["violations"]}
    if scheme == "dark":  # the same elements in other colours
        options["runOnly"] = ["color-contrast"]
    for place in PLACES if scheme == "light" else ("matrix", "accuracy", WRONG):
        open_at(page, site, place)
        for opened in page.locator("main details > summary").all():
            opened.click()
        found = axe.run(page, options=options).response["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        told = [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in serious]
        assert not told, place


def test_no_view_is_wider_than_a_phone(page, site):
    page.set_viewport_size({"width": 390, "height": 800})
    for place in PLACES:
        open_at(page, site, place)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, place


def test_the_matrix_shows_all_and_says_what_was_not_judged(page, site):
    open_at(page, site, "matrix")
    assert len(rows(page)) == 4
    cell = page.get_by_role("link", name="wrong, mask: 2 unsupported")
    assert cell.is_visible() and "2" in cell.inner_text()


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("family", "nll", 1),
        ("dtype", "float32", 4),
        ("device", "cpu", 4),
        ("level", "should", 4),
        ("outcome", "fail", 1),
        ("outcome", "unjudged", 4),
        ("outcome", "judged", 4),
    ],
)
def test_a_filter_acts_is_in_the_address_and_is_undone_by_back(page, site, name, value, left):
    open_at(page, site, "matrix")
    page.select_option(f"select[name={name}]", value)
    assert f"{name}={value}" in page.url and len(rows(page)) == left
    page.go_back()
    assert page.input_value(f"select[name={name}]") == "" and len(rows(page)) == 4
    page.go_forward()
    assert page.input_value(f"select[name={name}]") == value and len(rows(page)) == left
    page.click("text=Clear filters")
    assert len(rows(page)) == 4 and "?" not in page.url


def test_words_filter_names_and_rules_and_survive_a_reload(page, site):
    open_at(page, site, "matrix")
    page.fill("input[name=q]", "wrong ignore")
    assert [row.split()[-1].split(",")[0] for row in rows(page)] != [] and len(rows(page)) == 1
    page.reload()
    assert page.input_value("input[name=q]") == "wrong ignore" and len(rows(page)) == 1
    page.fill("input[name=q]", "no such thing")
    assert "No result fits" in page.inner_text("main")


def test_a_theme_opens_to_its_rules_by_keyboard_and_has_an_address(page, site):
    open_at(page, site, "matrix")
    page.get_by_role("button", name="values").focus()
    page.keyboard.press("Enter")
    assert "open=values" in page.url
    page.get_by_role("link", name="plain_mean").first.click()
    page.locator("main h1", has_text="values.plain_mean").wait_for()
    page.go_back()
    assert page.get_by_role("button", name="values").get_attribute("aria-expanded") == "true"


def test_arrows_move_between_cells_and_enter_opens_one(page, site):
    open_at(page, site, "matrix")
    page.locator(".matrix tbody th a", has_text="wrong").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "wrong, call" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    page.wait_for_url("**#/implementation/wrong?q=call.")
    page.wait_for_function("document.activeElement.tagName === 'H1'")


def test_a_failure_tells_the_whole_story(page, site):
    open_at(page, site, WRONG)
    told = page.inner_text("main")
    for part in ("Targets of -100 are ignored", "1.75989978", "0.879949868", "2.51·10⁵",
                 "1 of 2", "reduction", "[0] = -100", "nll-conformance replay"):  # fmt: skip
        assert part in told
    assert page.locator(".gauge").get_attribute("aria-label").endswith("times the bound")


def test_copy_buttons_copy(page, site):
    open_at(page, site, WRONG)
    page.get_by_role("button", name="Copy program").click()
    page.wait_for_function("document.querySelector('#status').textContent === 'program copied'")
    assert page.evaluate("navigator.clipboard.readText()") == invented.PROGRAM
    page.get_by_role("button", name="Copy command").click()
    page.wait_for_function("document.querySelector('#status').textContent === 'command copied'")
    assert "nll-conformance replay" in page.evaluate("navigator.clipboard.readText()")


def test_a_known_failure_names_its_reason_and_link(page, site):
    open_at(page, site, "failure/wrong/reductions.mean/float32/cpu")
    assert "known since 1.0" in page.inner_text("main")
    assert page.get_by_role("link", name="https://example.org/issues/").count() == 1


def test_hostile_names_stay_text(page, site, frames):
    name = frames.results.implementation[frames.results.outcome == "crash"].iloc[0]
    for place in (*VIEWS, f"implementation/{quote(name, safe='')}",
                  f"failure/{quote(name, safe='')}/ignore_index.default/float32/cpu"):  # fmt: skip
        open_at(page, site, place)
        assert page.locator("main img, main script, #notices img").count() == 0
        assert page.locator("a[href^='javascript']").count() == 0
    assert "<script>alert(1)</script>" in page.inner_text("h1 ~ p")
    assert "javascript:alert(4)" in page.inner_text("main")


def test_a_time_stands_beside_a_verdict_of_the_same_version_only(page, site):
    open_at(page, site, "speed")
    table = page.get_by_role("region", name="All measurements")
    assert "does not conform" in table.get_by_role("row", name="wrong").first.inner_text()
    assert "no verdict" in table.get_by_role("row", name="other version").first.inner_text()
    assert "wrong result" in page.get_by_role("region", name="Not timed").inner_text()


def test_charts_are_drawn_and_named(page, site):
    open_at(page, site, "speed")
    page.locator("summary", has_text="Numbers").first.click()
    assert page.locator(".chart svg").count() == 7
    assert page.locator(".chart[role=img][aria-label*='Accuracy against speed']").count() == 1
    assert "on the frontier" in page.inner_text("details table")


def test_picking_a_machine_is_an_address(page, site):
    open_at(page, site, "speed")
    page.select_option("select[data-pick=machine]", "rack (asv)")
    assert "machine=rack" in page.url
    page.go_back()
    assert page.input_value("select[data-pick=machine]") == "rack (bench)"


def test_history_names_regressions_by_range_and_interval(page, site):
    open_at(page, site, "history")
    row = page.get_by_role("row", name="right").first.inner_text()
    assert "worse" in row and "1.5" in row and "1.45 to 1.56" in row and "…" in row
    page.get_by_role("region", name="Runs, newest first").get_by_role("link").nth(4).click()
    page.wait_for_url("**#/history/run/*")
    page.locator("main h1", has_text="Run").wait_for()  # the address changes first


def test_detection_shows_survivors_first_and_single_catchers(page, site):
    open_at(page, site, "detection")
    first = page.get_by_role("region", name="Mutants", exact=True).locator("tbody tr").first
    assert "survived" in first.inner_text()
    assert "ignoring.counts" in page.get_by_role("region", name="only one rule").inner_text()
    assert "smoke test" in page.get_by_role("region", name="Detection score").inner_text()


def test_what_is_not_there_is_said(page, site):
    for place in ("implementation/nobody", "rule/no.rule", "failure/a/b/c/d", "nowhere"):
        open_at(page, site, place)
        assert "No such" in page.inner_text("h1")


def test_a_site_of_one_result_has_every_view(page, tmp_path):
    from nll_reports import build, load

    lines = [invented.header([{"name": "only"}]), invented.result("only", "a.b")]
    frames = load([invented.write(tmp_path / "r.jsonl", *lines, invented.footer())])
    build(frames, tmp_path)
    for view in VIEWS:
        open_at(page, (tmp_path / "index.html").as_uri(), view)
        told = page.inner_text("main")
        assert "only" in told if view == "matrix" else "undefined" not in told


def test_without_scripts_the_verdicts_can_be_read(chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site)
    assert "does not conform" in page.inner_text("noscript table")
    context.close()


def test_the_page_names_no_other_place(site):
    from pathlib import Path
    from urllib.parse import urlparse

    text = Path(urlparse(site).path).read_text()
    head = text[: text.index('<script type="application/json"')]
    assert "http://" not in head and "https://" not in head
    data = text[text.index('id="data">') + 10 :].split("</script>")[0]
    assert json.loads(data)["title"] == "invented losses" and "<" not in data
