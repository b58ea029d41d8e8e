"""The page of a bench in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from edgeml_devices.reports import report_text

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None or sys.platform != "linux":
    pytest.skip("no chromium", allow_module_level=True)

from playwright.sync_api import sync_playwright  # noqa: E402 - only where there is a browser to drive

WIDTHS = (1280, 360)
# Contrast of text as WCAG 2.2 defines it (1.4.3), found on every element that holds text of its own.
FAINT_TEXT = """() => {
  const channel = v => (v /= 255, v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!c.startsWith('rgba(0, 0, 0, 0')) return c; } return getComputedStyle(document.body).backgroundColor; };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    if (['title', 'desc', 'STYLE'].includes(e.tagName)) continue;
    const s = getComputedStyle(e), mine = light(e.closest('svg') ? s.fill : s.color), back = light(ground(e));
    const ratio = (Math.max(mine, back) + .05) / (Math.min(mine, back) + .05);
    if (ratio < 4.5) faint.push(`${e.tagName}.${e.getAttribute('class')} ${ratio.toFixed(2)}`);
  }
  return faint; }"""
SPILLED = """() => [...document.querySelectorAll('main *')]
  .filter(e => !e.closest('.wide') && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => `${e.tagName} ${e.textContent.slice(0, 40)}`)"""
BROKEN_WORDS = """() => [...document.querySelectorAll('tbody th code')]
  .filter(e => !e.textContent.includes('-') && e.textContent.length < 20 && e.getClientRects().length > 1)
  .map(e => e.textContent)"""
HIDDEN_WORDS = """() => [...document.querySelectorAll('svg.plot text')].filter(e => {
    const b = e.getBoundingClientRect(); return b.left < -1 || b.right > innerWidth + 1; }).map(e => e.textContent)"""
FILLS = """() => {
  const channel = v => (v /= 255, v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
  const back = light(getComputedStyle(document.body).backgroundColor);
  const bar = document.querySelector('svg.stack');
  return [1, 2, 3, 4, 5, 6, 7].map(number => {
    const piece = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    piece.setAttribute('class', `k${number}`);
    bar.append(piece);
    const fill = getComputedStyle(piece).fill, mine = light(fill);
    return [fill, (Math.max(mine, back) + .05) / (Math.min(mine, back) + .05)]; }); }"""


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


records, page_tests = load("report_records"), load("test_bench_page")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def address(make_bundle, model_content, simulate, measured, samples, tmp_path):
    """A page with every section: made once."""
    if not _MADE:
        bundle = records.tiny_bundle(make_bundle, model_content)
        variants = records.measured_variants(measured, samples)
        found = records.simulated_report(bundle, simulate, variants, sustained_minutes=0.0005)
        path = tmp_path / "bench.html"
        path.write_text(report_text(page_tests.full_record(bundle, found), ".html"), encoding="utf-8")
        _MADE.append(path.as_uri())
    return _MADE[0]


_MADE = []


@pytest.fixture
def open_page(browser):
    """Opens the page; afterwards nothing may have been complained of or asked for."""
    pages, seen = [], []

    def open_at(address, width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: None if request.url == address else seen.append(f"asked: {request.url}"))
        page.goto(address)
        pages.append(page)
        return page

    yield open_at
    for page in pages:
        page.close()
    assert seen == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_readable_on_every_screen(open_page, address, width, scheme):
    page = open_page(address, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(SPILLED) == []
    assert page.evaluate(HIDDEN_WORDS) == []
    assert page.evaluate(BROKEN_WORDS) == []
    assert page.evaluate(FAINT_TEXT) == []
    sections = page.evaluate("[...document.querySelectorAll('section[id]')].map(e => e.id)")
    assert sections == page_tests.SECTIONS
    # The smallest words of a chart, in CSS pixels after scaling.
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg.plot')].map(e => 11 * e.getBoundingClientRect().width / 360)"
    )
    assert min(sizes) >= 9.5


def test_light_and_dark_differ(open_page, address):
    grounds = {
        scheme: open_page(address, scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 27)"}


def test_its_own_style_is_applied_and_no_other_one(browser, address):
    page = browser.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(address)
    assert page.evaluate("getComputedStyle(document.querySelector('.headline')).borderInlineStartWidth") != "0px"
    assert refused == []
    colour = page.evaluate(
        """() => { document.body.insertAdjacentHTML('beforeend', '<p id="probe" style="color: red">x</p>');
        return getComputedStyle(document.getElementById('probe')).color; }"""
    )
    page.close()
    assert colour == "rgb(27, 30, 33)"
    assert "Content Security Policy" in refused[0]


def test_the_keyboard_reaches_links_tables_and_details_in_the_order_of_the_page(open_page, address):
    page = open_page(address)
    expected = page.evaluate(
        "[...document.querySelectorAll('a, [tabindex], summary')].filter(e => e.checkVisibility() && e.tabIndex >= 0)"
        ".map(e => e.textContent.slice(0, 30))"
    )
    found = []
    for _ in expected:
        page.keyboard.press("Tab")
        found.append(page.evaluate("document.activeElement.textContent.slice(0, 30)"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert found == expected
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")


def test_links_lead_to_their_sections(open_page, address):
    page = open_page(address, 360)
    page.locator('a[href="#machine"]').click()
    assert page.evaluate("document.getElementById('machine').getBoundingClientRect().top < innerHeight")


def test_what_a_screen_reader_is_told(open_page, address):
    page = open_page(address)
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("[...document.querySelectorAll('[role=region], nav')].filter(e => !e.ariaLabel).length") == 0
    assert page.evaluate("[...document.querySelectorAll('table')].filter(e => !e.caption).length") == 0
    assert (
        page.evaluate(
            "[...document.querySelectorAll('svg:not([aria-hidden])')].filter(e => !e.querySelector('title')).length"
        )
        == 0
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.fixture
def emulated_address(make_bundle, model_content, simulate, tmp_path):
    """A page of an emulated bench."""
    bundle = records.tiny_bundle(make_bundle, model_content)
    found = records.emulated_report(bundle, simulate, failure="1 of 10 golden cases fail", warning="onnx-int8: slow")
    path = tmp_path / "emulated.html"
    path.write_text(report_text(records.record_of(bundle, found), ".html"), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_instructions_are_readable_on_every_screen(open_page, emulated_address, width, scheme):
    page = open_page(emulated_address, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.evaluate("document.querySelectorAll('.pick').forEach(e => e.click())")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(SPILLED) == []
    assert page.evaluate(BROKEN_WORDS) == []
    assert page.evaluate(FAINT_TEXT) == []
    tops = page.evaluate("[...document.querySelectorAll('.pairs figure')].map(e => e.getBoundingClientRect().top)")
    assert (len(set(tops)) == 1) == (width == 1280)
    # Every colour apart from the ground, as marks have to be (WCAG 2.2, 1.4.11), and no two alike.
    fills = page.evaluate(FILLS)
    assert len({colour for colour, _ in fills}) == 7
    assert min(contrast for _, contrast in fills) >= 3


def test_the_keyboard_picks_layers_with_one_stop_for_each_list(open_page, emulated_address):
    page = open_page(emulated_address)
    page.locator(".pick input").first.focus()
    told = "[...document.querySelectorAll('.told')].filter(e => e.closest('.pick') && e.checkVisibility()).map("
    told += "e => e.textContent.split(':')[0])"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(told) == ["Softmax scores"]
    outlined = "getComputedStyle(document.activeElement.parentElement).outlineStyle"
    assert page.evaluate(outlined) == "solid"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('[role=radiogroup]').ariaLabel") == "Layers of onnx-int8"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
