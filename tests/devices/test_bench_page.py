"""The page of a bench: whole, self-contained, and every figure in a table too."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgeml_devices.past import bench_facts
from edgeml_devices.reports import History, report_text
from edgeml_devices.reports.words import headline

_SPEC = importlib.util.spec_from_file_location("report_records", Path(__file__).with_name("report_records.py"))
records = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(records)


def earlier_runs(report, count=4):
    """Runs of earlier versions, every second one on another machine."""
    runs = []
    for number in range(count):
        values = report.to_dict() | {"measured_at": (records.MADE_AT - timedelta(days=count - number)).isoformat()}
        values["subject"] = values["subject"] | {"version": f"0.{number}.0"}
        if number % 2:
            values["machine"] = values["machine"] | {"cpu": "cortex-a76"}
        runs.append(bench_facts(values, measured_at=records.MADE_AT))
    return History(runs=tuple(runs), left_out=("torn.json: no JSON",))


@pytest.fixture
def report(make_bundle, model_content, simulate, measured, samples):
    """A bundle and its bench, which nothing changes: made once."""
    if not _MADE:
        bundle = records.tiny_bundle(make_bundle, model_content)
        variants = records.measured_variants(measured, samples)
        _MADE.append((bundle, records.simulated_report(bundle, simulate, variants, sustained_minutes=0.0005)))
    return _MADE[0]


_MADE = []


def full_record(bundle, found):
    """With everything in it that the page has words for."""
    more = {"against": records.compared().to_dict(), "baseline": records.beside(found)}
    return records.record_of(bundle, found, exit_code=1, history=earlier_runs(found), **more)


@pytest.fixture
def record(report):
    return full_record(*report)


@pytest.fixture
def page(record):
    return report_text(record, ".html")


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


SECTIONS = ["budgets", "against", "baseline", "latency", "variants", "curve", "conditions", "history", "machine"]


def test_every_section_is_there_and_linked(tree):
    assert [section.get("id") for section in tree.iter("section") if section.get("id")] == SECTIONS
    assert [link.get("href") for link in tree.iter("a")] == [f"#{name}" for name in SECTIONS]


def test_the_verdict_comes_first(tree, record):
    header = tree.find(".//header")
    (said,) = (element for element in header if element.get("class", "").startswith("headline"))
    assert said.get("class") == "headline bad-side"
    assert text_of(said) == headline(record)[1]
    assert "Measured on Raspberry Pi 4 Model B" in text_of(header)


def test_figures_stand_in_tables(tree):
    found = tables(tree)
    budgets = {row[0]: row for row in found["Budgets of the contract for raspberry-pi-4b"]}
    assert budgets["latency_ms_p50"][2] == "✗ fail"
    assert budgets["instructions"][2] == "– not measured"
    assert budgets["latency_ms_p50"][6] == "≤ 0.5 ms"
    variants = found["Latency, start and memory of every variant"]
    assert [row[0] for row in variants[1:]] == ["onnx-int8 picked", "onnx-fp16", "onnx-fp32"]
    ratios = found["Ratios of the times"]
    assert ratios[1][:2] == ["onnx-int8", "✗ fail"]
    assert ratios[1][3:6] == ["1.210", "1.18 – 1.24", "≤ 1.05"]


def test_worse_figures_are_marked_beside_an_earlier_result(tree):
    rows = tables(tree)["Ratios to the earlier result"]
    assert rows[1][:3] == ["bundle_mb", "the file", "✓ pass"]
    (worse,) = (row for row in rows if row[:2] == ["latency_ms_p50", "onnx-int8"])
    assert (worse[2], worse[6]) == ("✗ fail", "2.000")


def test_the_front_is_marked_in_table_and_charts(tree):
    rows = tables(tree)["Size, metric and latency of every variant"]
    assert [row[1] for row in rows[1:]] == ["yes", "no", "yes"]
    (section,) = (one for one in tree.iter("section") if one.get("id") == "variants")
    charts = list(section.iter("svg"))
    assert [chart.find("title").text for chart in charts] == [
        "file, MB against p50, ms",
        "accuracy against p50, ms",
        "accuracy against file, MB",
    ]
    for chart in charts:
        styles = [mark.get("class") for mark in chart.iter("circle")]
        assert sorted(styles) == ["bad", "good", "good", "ring"]


def test_runs_of_other_machines_are_hollow_and_this_one_is_ringed(tree):
    (section,) = (one for one in tree.iter("section") if one.get("id") == "history")
    for chart in section.iter("svg"):
        assert [mark.get("class") for mark in chart.iter("circle")] == ["good", "bad", "good", "bad", "ring", "good"]
    rows = tables(tree)["p95 in ms, run by run"]
    assert [row[1] for row in rows[1:]] == ["1.0.0", "0.3.0", "0.2.0", "0.1.0", "0.0.0"]
    assert "torn.json: no JSON" in text_of(section)
    assert "a single one proves nothing" in text_of(section)


def test_every_point_and_chart_says_what_it_is(tree):
    for chart in tree.iter("svg"):
        if chart.get("aria-hidden") != "true":
            assert chart.get("role") == "img"
            assert chart.find("title").text
        for group in chart.iter("g"):
            assert group.find("title").text


def test_nothing_is_loaded_and_nothing_runs(tree, page):
    loading = {"audio", "embed", "iframe", "img", "link", "object", "script", "source", "video"}
    assert not {element.tag for element in tree.iter()} & loading
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"src", "srcset", "action", "style"}
    assert not re.search(r"url\(|@import|https?:", page)


def test_a_browser_s_parser_reads_it_as_it_is_nested(page):
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


def test_the_same_record_gives_the_same_page(record, page):
    assert report_text(record, ".html") == page


def test_a_device_that_is_not_here_is_said_not_to_be_measured(make_bundle, model_content, simulate):
    bundle = records.tiny_bundle(make_bundle, model_content)
    found = records.simulated_report(bundle, simulate, [], "pc")
    page = report_text(records.record_of(bundle, found), ".html")
    tree = ET.fromstring(page.partition("\n")[2])
    assert "Nothing was timed: this machine does not count as raspberry-pi-4b" in page
    sections = [section.get("id") for section in tree.iter("section") if section.get("id")]
    assert sections == ["budgets", "latency", "variants", "machine"]
    (chart,) = (svg for svg in tree.iter("svg") if svg.get("class") == "plot")
    assert chart.find("title").text == "accuracy against file, MB"


def test_a_bare_model_has_no_budgets_and_no_metric(model_file, simulate, measured, samples):
    path = model_file()
    found = records.simulated_report(path, simulate, [measured("tiny.onnx", samples([1.0, 1.2]))])
    page = report_text(records.record_of(path, found), ".html")
    assert "no budgets for raspberry-pi-4b were checked" in page
    assert 'id="variants"' not in page


def test_a_variant_that_did_not_run_says_why(report):
    bundle, found = report
    broken = replace(found.variants[1], latency=None, figures={}, reason="it crashed: <signal 11>", curve=())
    found = replace(found, variants=(found.variants[0], broken, found.variants[2]))
    page = report_text(records.record_of(bundle, found), ".html")
    assert "it crashed: &lt;signal 11&gt;" in page
    rows = tables(ET.fromstring(page.partition("\n")[2]))["Size, metric and latency of every variant"]
    assert rows[2][:3] == ["onnx-fp16", "–", "–"]
