"""The frame and the charts of every page."""

from __future__ import annotations

import math
from functools import partial
from xml.etree import ElementTree as ET

import pytest

from edgeml_pages import Bar, Html, Plot, Scale, bars, document, figure, folded, gauge, legend, section, stack, table
from edgeml_pages.scale import tick_step


@pytest.mark.parametrize(
    ("span", "step_width"), [(0.0, 1.0), (1.0, 0.2), (0.006, 0.002), (10, 2.0), (7.5, 2.0), (1e-9, 2e-10), (26, 10.0)]
)
def test_ticks_are_round_and_few(span, step_width):
    assert tick_step(span) == pytest.approx(step_width)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1.0, 100.0], (1, 10, 100)),
        ([0.011, 0.09], (0.02, 0.04, 0.06, 0.08)),
        ([0.9, 11.0], (1, 2, 5, 10)),
        ([1e-6, 1e6], (1e-6, 1e-3, 1, 1e3, 1e6)),
        ([3.0, 3.1], (2.9, 3.0, 3.1, 3.2)),
    ],
)
def test_ticks_of_ratios_are_round_inside_and_few(values, ticks):
    scale = Scale.ratios(values, start=0, end=100)
    assert scale.ticks == pytest.approx(ticks)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert 0 <= scale.at(min(values)) < scale.at(max(values)) <= 100


def test_an_axis_of_one_value_has_a_middle():
    scale = Scale.ratios([5.0], start=0, end=100)
    assert scale.at(5.0) == pytest.approx(50)
    assert scale.ticks


def test_equal_ratios_are_equally_far_apart():
    scale = Scale.ratios([1.0, 100.0], start=0, end=100)
    assert scale.at(10) - scale.at(1) == pytest.approx(scale.at(100) - scale.at(10))


def test_bars_are_as_long_as_their_share():
    drawn = ET.fromstring(bars("a & b", [Bar(share=share, style="own") for share in (0.25, 7.0, -1.0)]))
    assert [mark.get("width") for mark in drawn.iter("rect")] == ["25", "100", "0"]
    assert drawn.find("title").text == "a & b"


def test_pieces_of_a_stack_begin_where_the_last_one_ends():
    parts = [Bar(share=share, style=style) for share, style in ((0.25, "k1"), (0.0, "k2"), (0.5, "k7"))]
    drawn = ET.fromstring(stack("a & b", parts))
    assert drawn.find("title").text == "a & b"
    pieces = [(piece.get("class"), piece.get("x"), piece.get("width")) for piece in drawn.iter("rect")]
    assert pieces == [("k1", "0", "25"), ("k7", "25", "50")]


@pytest.mark.parametrize(
    ("value", "low", "high", "limit", "over"),
    [
        (1.0, 0.9, 1.1, 2.0, False),
        (3.0, 2.5, 3.5, 2.0, True),
        (1.0, -math.inf, math.inf, 2.0, False),
        (0.0, 0.0, 0.0, 1e-9, False),
    ],
)
def test_a_gauge_shows_on_which_side_of_the_limit_a_value_is(value, low, high, limit, over):
    drawn = ET.fromstring(gauge("g", value=value, low=low, high=high, limit=limit, over=over))
    track, span = drawn.iter("rect")
    mark, line = (float(path.get("d")[1:].split()[0]) for path in drawn.iter("path"))
    assert (mark > line) == over
    assert ("over" in span.get("class")) == over
    assert 0 <= float(span.get("x")) <= mark
    assert float(span.get("x")) + float(span.get("width")) >= mark - 1e-2
    assert track.get("width") == "100"


@pytest.fixture
def plot():
    return Plot.of(partial(_scale, [0.0, 10.0]), partial(_scale, [0.0, 1.0]))


def _scale(values, start, end):
    return Scale.around(values, start=start, end=end)


def test_a_plot_has_its_marks_between_its_axes(plot):
    marks = [
        plot.point(5, 0.5, "half < full", ringed=True),
        plot.line([(0, 0), (10, 1)], "s1"),
        plot.interval_up(5, -1.0, 2.0),
        plot.interval_across(0.5, 4.0, math.inf),
        plot.level(0.8, "limit & more"),
        plot.upright(2, "p50"),
        plot.columns([0, 5, 10], [0.2, 0.4]),
        plot.labels([(5, 0.5, "one"), (5, 0.5, "two"), (5.1, 0.5, "three")]),
    ]
    drawn = ET.fromstring(plot.svg("t", "d", marks, x_name="x & y", y_name="y"))
    assert drawn.find("desc").text == "d"
    (group,) = drawn.iter("g")
    assert group.find("title").text == "half < full"
    places = {text.text: (float(text.get("x")), float(text.get("y"))) for text in drawn.iter("text")}
    assert len({places[word] for word in ("one", "two", "three")}) == 3
    whisker = next(path for path in drawn.iter("path") if path.get("class") == "whisker ")
    assert whisker.get("d").split()[1] == f"{plot.up(0)}V{plot.up(1)}"


def test_words_beside_points_do_not_cover_each_other(plot):
    drawn = ET.fromstring(f"<g>{plot.labels([(5, 0.5, f'variant-{number}') for number in range(4)])}</g>")
    rows = [(text.get("text-anchor"), text.get("y")) for text in drawn]
    assert len(set(rows)) == 4


def test_a_document_allows_nothing_but_its_own_style():
    page = document("a <b>", section("s", table("c", ["x"], [["<1>"]]), name="here"))
    tree = ET.fromstring(page.partition("\n")[2])
    (policy,) = (meta.get("content") for meta in tree.iter("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert tree.find("head/title").text == "a <b>"
    assert tree.find(".//section").get("id") == "here"
    assert tree.find(".//tbody/tr/th").text == "<1>"


def test_small_parts_escape_what_they_are_given():
    assert legend("a < b", Html(text="<b>x</b>")) == '<p class="legend"><span>a &lt; b</span><span><b>x</b></span></p>'
    assert "<summary>a &lt; b</summary>" in folded("a < b", "<p>x</p>")
    assert "<figcaption>a &lt; b</figcaption>" in figure("a < b", "<svg/>")
