"""The page that explains an export: whole, self-contained, and the same for the same report."""

from __future__ import annotations

import math
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgeml_evaluate import Interval, MetricValue, PairedLoss, SliceLoss
from edgeml_export.explain import explain_html, write_explanation
from edgeml_export.explain.charts import Point, common_axis, distribution, scatter
from edgeml_export.graph.folding import Folding
from edgeml_export.hostile import HOSTILE_CASES, HostileResult
from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.parity import Parity
from edgeml_export.report import ExportReport, VariantReport
from edgeml_export.search import SearchStep, ValidationLoss
from edgeml_export.sensitivity import LayerLoss
from edgeml_export.vnni_check import VnniCheck
from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import StorageError

MARKUP = "a<b> & \"c\" 'd'"


def loss(drop, *, allowed=0.005, n=400):
    return PairedLoss(
        drop=drop, items=round(drop * n), lost=9, gained=2, n=n, allowed_drop=allowed, within=drop <= allowed
    )


def step(drop, *layers, slice_drop=0.0):
    slices = (SliceLoss(name="side=left", loss=loss(slice_drop, allowed=0.02), too_small=False),)
    return SearchStep(float_layers=layers, loss=ValidationLoss(overall=loss(drop), slices=slices))


def variant(name, **changes):
    values = {
        "id": name,
        "quantized": "fp32" not in name,
        "bytes": 45_678,
        "inventory": Inventory(
            weight_bytes=12_345,
            front_end_bytes=4 * 1200,
            operators=OperatorCount(int8=0, float_inside=1, float_outside=3),
        ),
        "metric": MetricValue(
            name=MetricName.ACCURACY,
            value=0.9654,
            interval=Interval(low=0.95, high=0.98, level=0.95, method="Wilson"),
            n=400,
        ),
        "slices": (),
        "paired_loss": loss(0.0),
        "slice_losses": (
            SliceLoss(name="side=left", loss=loss(0.0, n=300), too_small=False),
            SliceLoss(name=f"label={MARKUP}", loss=loss(0.5, n=4), too_small=True),
        ),
        "parity": Parity(
            output="logits",
            items=400,
            max_abs=0.1,
            mean_abs=0.01,
            cosine=1.0,
            sqnr_db=131.5,
            reference_std=2.0,
            argmax_agreement=0.995,
        ),
        "hostile": tuple(
            HostileResult(
                case=case, max_abs=0.25, mean_abs=0.1, cosine=1.0, sqnr_db=30.0, allowed=None, same_decision=True
            )
            for case in HOSTILE_CASES
        ),
        "float_layers": (),
        "small_layers": (),
        "search": (),
        "without_vnni": None,
        "required": False,
        "reason": None,
    }
    return VariantReport(**values | changes)


def layer(path, **changes):
    values = {
        "path": path,
        "operator": "conv2d",
        "macs": 1_000_000,
        "parameters": 1200,
        "weight_range": (-0.5, 0.75),
        "weight_histogram": (1, 5, 9, 2),
        "activation_range": (0.0, 6.0),
        "activation_histogram": (90, 3, 0, 1),
        "sqnr_db": 34.0,
        "output_sqnr_db": 41.5,
    }
    return LayerLoss(**values | changes)


@pytest.fixture
def report():
    """An export with everything in it that the page has words for."""
    searched = (step(0.02), step(0.006, "network.3"), step(0.001, "network.3", "network.0"))
    hopeless = (step(0.02), step(0.001, "network.3", "network.0", slice_drop=0.3))
    vnni = VnniCheck(items=14, output="logits", max_abs=0.002, tolerance=0.01)
    return ExportReport(
        bundle=Path("/somewhere/else/tiny-1.0.0.edgeml"),
        bundle_bytes=123_456,
        variants=(
            variant("tflite-int8", search=searched, float_layers=("network.3", "network.0")),
            variant("onnx-int8", search=hopeless, float_layers=("network.3", "network.0"), without_vnni=vnni).judged(
                None
            ),
            variant("onnx-int8-dynamic", without_vnni=replace(vnni, items=0), reason=f"no good: {MARKUP}"),
            variant("onnx-fp32", parity=replace(variant("x").parity, sqnr_db=None, argmax_agreement=None)),
        ),
        foldings=(
            Folding(input="image", folded="the value is the quantized input", remaining=()),
            Folding(input=MARKUP, folded=f"nothing: {MARKUP}", remaining=("to", "div")),
        ),
        layers=(
            layer("features.mel", in_float_scope=True, sqnr_db=math.nan, activation_range=(-math.inf, 3.0)),
            layer("network.0", weight_histogram=(0, 0), weight_range=(0.0, 0.0)),
            layer("network.3", output_sqnr_db=math.inf, activation_range=(-60.0, 900.0)),
            layer("", operator="matmul", sqnr_db=-math.inf),
        ),
    )


@pytest.fixture
def page(report, make_contract):
    return explain_html(report, make_contract())


@pytest.fixture
def tree(page):
    assert page.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(page.partition("\n")[2])


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def tables(tree):
    """Caption → rows of cells as text."""
    return {
        text_of(table.find("caption")): [[text_of(cell) for cell in row] for row in table.iter("tr")]
        for table in tree.iter("table")
    }


def test_every_variant_and_every_layer_is_there(tree, report):
    found = tables(tree)
    variants = found["Size, metric, loss and parity of every variant"]
    assert [row[0] for row in variants[1:]] == [item.id for item in report.variants]
    names = ["features.mel", "network.0", "network.3", "the model itself"]
    error, cost, ranges = (
        found[caption]
        for caption in (
            "Error of each layer when it alone is quantized",
            "Operator, MACs, bytes and precision of each layer",
            "Weights and activations of each layer",
        )
    )
    for rows in (error, cost, ranges):
        assert [row[0].partition(" float ")[0] for row in rows[1:]] == names
    assert error[1][0] == "features.mel float scope"
    assert error[3][0] == "network.3 float in tflite-int8 float in onnx-int8"
    assert [row[2:] for row in error[1:]] == [
        ["–", "–", "41.5", "0.84 %"],
        ["34.0", "2 %", "41.5", "0.84 %"],
        ["34.0", "2 %", "exact", "0 %"],
        ["–", "–", "41.5", "0.84 %"],
    ]


def test_precisions_stand_once_for_variants_that_agree(tree):
    cost = tables(tree)["Operator, MACs, bytes and precision of each layer"]
    assert cost[0][-3:] == ["tflite-int8, onnx-int8", "onnx-int8-dynamic", "onnx-fp32"]
    assert [row[-3:] for row in cost[1:]] == [
        ["fp32", "fp32", "fp32"],
        ["fp32", "int8-dynamic", "fp32"],
        ["fp32", "int8-dynamic", "fp32"],
        ["int8", "int8-dynamic", "fp32"],
    ]
    assert cost[1][1:6] == ["conv2d", "features.mel: 25.0 % of the MACs", "1.00 M", "25.0 %", "1,200"]
    assert cost[1][6:9] == ["4.8 kB", "2.4 kB", "1.2 kB"]


@pytest.mark.parametrize(
    ("small_layers", "precision"), [((), "fp32"), (("features.mel",), "w8"), (("features",), "fp32")]
)
def test_a_layer_of_a_float_scope_whose_constants_are_int8_says_so(report, small_layers, precision):
    first = replace(report.variants[0], small_layers=small_layers)
    values = replace(report, variants=(first,)).to_dict()
    assert values["layers"][0]["path"] == "features.mel"
    assert values["layers"][0]["precisions"] == {"tflite-int8": precision}
    assert values["layers"][3]["precisions"] == {"tflite-int8": "int8"}


def test_searches_say_what_was_tried(tree, page):
    found = tables(tree)
    steps = found["Attempts of tflite-int8"]
    assert [row[1] for row in steps[1:]] == ["none", "network.3", "network.3, network.0"]
    assert [row[-1] for row in steps[1:]] == ["no", "no", "yes"]
    assert found["Attempts of onnx-int8"][2][2] == "side=left"
    assert "2 layers stay in float: <code>network.3</code>, <code>network.0</code>." in page
    assert "No form keeps the promise" in page
    charts = [chart for chart in tree.iter("svg") if chart.get("class") == "scatter"]
    assert [len([mark for mark in chart.iter("circle") if mark.get("class") == "ring"]) for chart in charts] == [1, 0]
    assert [len([mark for mark in chart.iter("circle") if mark.get("class") == "good"]) for chart in charts] == [1, 0]


def test_reasons_slices_extremes_and_vnni(tree, page):
    found = tables(tree)
    assert "onnx-int8 is not shipped: the search found no form" in text_of(tree)
    assert f"onnx-int8-dynamic is not shipped: no good: {MARKUP}" in text_of(tree)
    assert found["Loss on every slice"][2][0] == f"label={MARKUP} too few to judge"
    assert [row[0] for row in found["Difference from PyTorch on hostile inputs"][1:]] == list(HOSTILE_CASES)
    assert found["Answers without VNNI"][1:] == [
        ["onnx-int8", "yes", "14", "2.0e-03", "1.0e-02"],
        ["onnx-int8-dynamic", "no: install qemu-user", "–", "–", "–"],
    ]
    assert found["Inputs and their preprocessing"][1:] == [
        ["image", "the value is the quantized input", "nothing"],
        [MARKUP, f"nothing: {MARKUP}", "to, div"],
    ]


def test_nothing_is_loaded_and_nothing_runs(tree, page):
    loading = {"audio", "embed", "iframe", "img", "link", "object", "script", "source", "video"}
    assert not {element.tag for element in tree.iter()} & loading
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"href", "src", "srcset", "action"}
    assert not re.search(r"url\(|@import|https?:|//", page.replace("<!DOCTYPE html>", ""))


def test_a_browser_s_parser_reads_it_as_it_is_nested(page):
    """What is well-formed XML may still be misread as HTML: ``<div/>`` stays open there."""
    empty, drawn = {"meta", "br"}, {"rect", "path", "circle"}

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            assert tag not in empty | drawn, f"<{tag}> without its end"
            self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            assert tag in empty | drawn, f"<{tag}/> is no empty element in HTML"

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []


def test_tables_and_charts_say_what_they_are(tree):
    for table in tree.iter("table"):
        assert {cell.get("scope") for cell in table.find("thead").iter("th")} == {"col"}
        for row in table.find("tbody"):
            assert row[0].get("scope") == "row"
            assert len(row) == len(table.find("thead")[0])
    assert all(chart.get("role") == "img" and chart.find("title").text for chart in tree.iter("svg"))
    assert [region.get("tabindex") for region in tree.iter("div") if region.get("role") == "region"]
    headings = [int(element.tag[1]) for element in tree.iter() if re.fullmatch(r"h\d", element.tag)]
    assert headings[0] == 1
    assert set(headings[1:]) == {2}


def test_the_same_report_gives_the_same_page_and_says_no_place(report, page, make_contract):
    elsewhere = replace(report, bundle=Path("/home/user/tiny-1.0.0.edgeml"))
    assert explain_html(elsewhere, make_contract()) == page
    assert "somewhere" not in page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_shows_it_without_complaint(page, tmp_path, width, scheme):
    chromium = shutil.which("chromium")
    if chromium is None or sys.platform != "linux":
        pytest.skip("no chromium")
    from playwright.sync_api import sync_playwright  # there is a browser to drive

    path, seen = tmp_path / "page.html", []
    path.write_text(page, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("console", lambda message: seen.append(message.text))
        tab.on("request", lambda request: seen.append(request.url))
        tab.goto(path.as_uri())
        wide = tab.evaluate("document.documentElement.scrollWidth")
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert seen == [path.as_uri()]
    assert wide == width
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 27)"}[scheme]


def test_a_page_without_layers_bundle_and_slices(report, make_contract):
    bare = replace(report.variants[3], slice_losses=(), reason="too far off", required=True)
    page = explain_html(replace(report, variants=(bare,), layers=(), foldings=()), make_contract())
    found = tables(ET.fromstring(page.partition("\n")[2]))
    assert "No bundle was written" in page
    assert list(found) == [
        "Size, metric, loss and parity of every variant",
        "Difference from PyTorch on hostile inputs",
    ]
    assert found["Size, metric, loss and parity of every variant"][1][9] == "–"


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "page.html"
    write_explanation(path, "<p>first</p>")
    write_explanation(path, "<p>zweite – Fassung</p>")
    assert path.read_text(encoding="utf-8") == "<p>zweite – Fassung</p>"
    with pytest.raises(StorageError, match=r"cannot be written: No such file or directory; .*--report"):
        write_explanation(tmp_path / "missing" / "page.html", "")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        write_explanation(tmp_path / "taken", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["page.html", "taken"]


@pytest.mark.parametrize(
    ("ranges", "axis"),
    [
        ([], (-1.0, 1.0)),
        ([(0.0, 0.0)], (-1.0, 1.0)),
        ([(0.5, 2.0), (-3.0, -1.0)], (-3.0, 2.0)),
        ([(-math.inf, 2.0), (math.nan, math.nan)], (0.0, 2.0)),
    ],
)
def test_an_axis_holds_zero_and_every_range(ranges, axis):
    assert common_axis(ranges) == axis


@pytest.mark.parametrize(
    ("ends", "place", "width", "arrows"),
    [
        ((0.0, 5.0), "50", "25", 0),
        ((-20.0, 5.0), "0", "75", 1),
        ((-20.0, 99.0), "0", "100", 2),
        ((1.0, 1.0), "55", "0.5", 0),
    ],
)
def test_a_range_lies_on_the_shared_axis(ends, place, width, arrows):
    drawn = ET.fromstring(distribution("range", ends, [1, 4, 0], (-10.0, 10.0)))
    (mark,) = drawn.iter("rect")
    assert (mark.get("x"), mark.get("width")) == (place, width)
    assert sum(path.get("class") == "range" for path in drawn.iter("path")) == arrows


def test_a_histogram_without_values_is_left_out():
    drawn = ET.fromstring(distribution("range", (math.nan, math.nan), [0, 0], (-1.0, 1.0)))
    assert {path.get("class") for path in drawn.iter("path")} == {"axis"}
    assert not list(drawn.iter("rect"))


def test_points_lie_between_the_ticks():
    points = [Point(x=x, y=y, good=y < 0.5, chosen=x == 3, title=f"{x}") for x, y in ((0, 2.0), (1, -0.5), (3, 0.0))]
    drawn = ET.fromstring(scatter("t", "d", points, limit=0.5, x_name="x < y", y_name="y"))
    marks = [mark for mark in drawn.iter("circle") if mark.get("class") != "ring"]
    assert [mark.get("class") for mark in marks] == ["bad", "good", "good"]
    assert [float(mark.get("cx")) for mark in marks] == sorted(float(mark.get("cx")) for mark in marks)
    assert float(marks[0].get("cy")) < float(marks[2].get("cy")) < float(marks[1].get("cy"))
    (limit,) = (path for path in drawn.iter("path") if path.get("class") == "limit")
    height = float(limit.get("d").split()[1].partition("H")[0])
    assert float(marks[0].get("cy")) < height < float(marks[2].get("cy"))
    assert drawn.find("desc").text == "d"
