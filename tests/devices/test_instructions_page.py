"""Reports of an emulated bench: instructions by class and layer, golden vectors, and nothing about times."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgeml_devices.emulator.classes import CLASS_TITLES, ClassCounts
from edgeml_devices.pages.counted import CountedVariant, by_format, counted_variants, rest_of
from edgeml_devices.past import bench_facts
from edgeml_devices.reports import History, TargetBench, make_record, report_text
from edgeml_devices.reports.words import count_text, headline, limit_text
from edgeml_pages.style import STYLE


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


records, page_tests, report_tests = load("report_records"), load("test_bench_page"), load("test_reports")
tables, text_of = page_tests.tables, page_tests.text_of
FAILURE = "1 of 10 golden cases fail, first 'a': output 'scores' is off by 0.5, expected at most 0.01"
WARNING = "onnx-int8: the CPU has dot products of int8, and the backend uses none"


@pytest.fixture
def bundle(make_bundle, model_content):
    return records.tiny_bundle(make_bundle, model_content)


@pytest.fixture
def report(bundle, simulate):
    return records.emulated_report(bundle, simulate)


@pytest.fixture
def record(bundle, report):
    return records.record_of(bundle, report)


def tree_of(record):
    return ET.fromstring(report_text(record, ".html").partition("\n")[2])


def section_of(tree, name="instructions"):
    (section,) = (one for one in tree.iter("section") if one.get("id") == name)
    return section


def with_class(element, name):
    return [one for one in element.iter() if name in one.get("class", "").split()]


def widths(bar):
    """Class → width of its piece, of 100."""
    return {piece.get("class"): float(piece.get("width")) for piece in bar.iter("rect")}


def earlier(bundle, simulate, device, cpu, **changes):
    report = records.emulated_report(bundle, simulate, device=device, cpu=cpu)
    values = report.to_dict()
    return replace(bench_facts(values, measured_at=records.MADE_AT), **changes)


def test_sections_about_times_are_not_there(record):
    tree = tree_of(record)
    sections = [section.get("id") for section in tree.iter("section") if section.get("id")]
    assert sections == ["budgets", "instructions", "variants", "machine"]
    page = text_of(tree)
    assert "timed calls" not in page
    assert not [caption for caption in tables(tree) if "atency" in caption]
    assert [text_of(one.find("title")) for one in tree.iter("svg") if one.get("class") == "plot"] == [
        "file, MB against instructions, millions",
        "accuracy against instructions, millions",
        "accuracy against file, MB",
    ]
    (row,) = (one for one in tables(tree)["Size, metric and instructions of every variant"] if one[0] == "onnx-fp32")
    assert row[1:] == ["yes", "1.251", "0.04", "0.97"]
    assert "60 inferences counted in all, on one thread, and none timed" in page


def test_a_bench_that_timed_has_no_such_section(make_bundle, model_content, simulate, measured, samples):
    bundle = records.tiny_bundle(make_bundle, model_content)
    found = records.simulated_report(bundle, simulate, records.measured_variants(measured, samples))
    assert 'id="instructions"' not in report_text(records.record_of(bundle, found), ".html")


def test_bars_are_as_long_as_the_counts_and_have_their_classes(record):
    (figure,) = (one for one in section_of(tree_of(record)).iter("figure") if with_class(one, "stacked"))
    rows = with_class(figure, "stacked")
    assert text_of(figure.find("figcaption")) == "raspberry-pi-5, cortex-a76"
    assert [text_of(row.find(".//code")) for row in rows] == ["onnx-fp32", "onnx-int8", "onnx-fp16"]
    assert [text_of(with_class(row, "amount")[0]) for row in rows] == [
        "1.25 M",
        "501.2 k = 0.40 × onnx-fp32",
        "1.55 M = 1.24 × onnx-fp32",
    ]
    drawn = widths(rows[1].find(".//svg"))
    longest = 1_250_000 + 300_000 + 1_200
    assert drawn == {
        "k2": pytest.approx(100 * 400_000 / longest, abs=0.01),
        "k5": pytest.approx(100 * 1_000 / longest, abs=0.01),
        "k6": pytest.approx(100 * 200 / longest, abs=0.01),
        "k7": pytest.approx(100 * 100_000 / longest, abs=0.01),
    }
    assert sum(widths(rows[2].find(".//svg")).values()) == pytest.approx(100, abs=0.03)


def test_every_class_has_a_colour():
    for number in range(1, len(CLASS_TITLES) + 1):
        assert f".k{number} {{ fill:" in STYLE


def test_layers_stand_in_their_order_with_what_belongs_to_none(record):
    section = section_of(tree_of(record))
    panels = [one for one in section.iter("figure") if with_class(one, "pick")]
    assert [text_of(one.find("figcaption")).partition(":")[0] for one in panels] == ["onnx-fp32", "onnx-int8"]
    names = [[text_of(one) for one in with_class(panel, "name")] for panel in panels]
    assert [name.split()[0] for name in names[0]] == ["FusedConv", "Softmax", "runtime"]
    assert names[0][0] == f"FusedConv {records.LONG_NAME}"
    assert with_class(panels[0], "name")[0].get("title") == f"FusedConv {records.LONG_NAME}"
    assert [text_of(one) for one in with_class(panels[1], "amount")] == ["401.2 k", "100.0 k"]
    longest = [max(sum(widths(bar).values()) for bar in panel.iter("svg")) for panel in panels]
    assert longest == [pytest.approx(100, abs=0.05), pytest.approx(100 * 401_200 / 1_201_200, abs=0.05)]
    assert "onnx-fp16: its layers and the marks do not agree" in text_of(section)


def test_the_numbers_stand_in_folded_tables(record):
    section = section_of(tree_of(record))
    found = tables(section)
    by_class = found["Instructions of one inference by class"]
    assert by_class[0][3:] == ["in all", *CLASS_TITLES.values()]
    assert by_class[2] == [
        "raspberry-pi-5, cortex-a76", "onnx-int8", "0.40 × onnx-fp32", "501,200", "0", "400,000", "0", "0", "1,000",
        "200", "100,000",
    ]  # fmt: skip
    by_layer = found["Instructions of onnx-fp32 by layer"]
    assert by_layer[1] == [
        "1 FusedConv",
        "1,201,200",
        "1,200,000",
        "0",
        "0",
        "0",
        "1,000",
        "200",
        "0",
        records.LONG_NAME,
    ]
    assert by_layer[-1][:2] == ["runtime and call", "49,600"]
    assert len(list(section.iter("details"))) == 3


def test_keyboard_and_finger_pick_a_layer(record):
    section = section_of(tree_of(record))
    groups = [one for one in section.iter() if one.get("role") == "radiogroup"]
    assert [one.get("aria-label") for one in groups] == ["Layers of onnx-fp32", "Layers of onnx-int8"]
    names = [{button.get("name") for button in group.iter("input")} for group in groups]
    assert [len(one) for one in names] == [1, 1]
    assert names[0] != names[1]
    for group in groups:
        for row in with_class(group, "pick"):
            assert row.find("input").get("type") == "radio"
            (told,) = with_class(row, "told")
            assert text_of(told) == text_of(row.find(".//title"))


def test_golden_vectors_on_both_versions(bundle, simulate):
    failing = records.emulated_report(bundle, simulate, failure=FAILURE, warning=WARNING)
    record = records.record_of(bundle, failing)
    tree = tree_of(record)
    rows = tables(tree)["Golden vectors on every version of the backend"]
    assert rows[1][:5] == [
        "onnx-int8",
        "onnxruntime 1.32.0 (QEMU 10.0.2)",
        "✓ 10 passed",
        "onnxruntime 1.24.4 (QEMU 7.2.22)",
        f"✗ failed: {FAILURE}",
    ]
    assert rows[1][5:] == ["yes", "20"]
    assert rows[3][4:6] == ["✓ 10 passed", "no"]
    assert f"Warnings {WARNING}" in text_of(section_of(tree))
    word, sentence = headline(record)
    assert word == "fail"
    assert sentence.endswith(" Golden vectors failed: onnx-int8.")


def test_a_variant_that_cannot_run_there_says_why(bundle, report):
    idle = replace(report.variants[0], emulated=None, figures={}, reason="it needs a CPU with i8mm")
    record = records.record_of(bundle, replace(report, variants=(idle, *report.variants[1:])))
    section = section_of(tree_of(record))
    assert "Not emulated onnx-int8: it needs a CPU with i8mm" in text_of(section)
    assert [row[0] for row in tables(section)["Golden vectors on every version of the backend"][1:]] == [
        "onnx-fp16",
        "onnx-fp32",
    ]
    assert "| `onnx-int8` | – | – | – | – | 0.04 |" in report_text(record, ".md").replace(" (picked)", "")


def test_nothing_counted_is_said(bundle, report):
    bare = tuple(
        replace(one, figures={}, emulated=replace(one.emulated, counting=None, counts=None, calls=(), layers=()))
        for one in report.variants
    )
    page = report_text(records.record_of(bundle, replace(report, variants=bare)), ".html")
    assert "Nothing was counted." in page
    assert 'class="stack"' not in page


def test_each_other_profile_is_shown_once_on_one_scale(bundle, simulate, report):
    runs = (
        earlier(bundle, simulate, "raspberry-pi-4b", "cortex-a72", version="0.1.0"),
        earlier(bundle, simulate, "raspberry-pi-4b", "cortex-a72"),
        earlier(bundle, simulate, "raspberry-pi-5", "cortex-a76"),
        earlier(bundle, simulate, "raspberry-pi-5", "max"),
        earlier(bundle, simulate, "raspberry-pi-3b-plus", "cortex-a53", name="another model"),
    )
    # The run that came last counts, and its longest bar is three times as long as one of this bench.
    long = tuple(
        replace(one, counts=ClassCounts(fp_fma=3 * (1_250_000 + 300_000 + 1_200))) if one.name == "onnx-fp16" else one
        for one in runs[1].variants
    )
    runs = (runs[0], replace(runs[1], variants=long), *runs[2:])
    tree = tree_of(records.record_of(bundle, report, history=History(runs=runs, left_out=("a.json: torn",))))
    section = section_of(tree)
    assert not [one for one in tree.iter("section") if one.get("id") == "history"], "it would show p95 alone"
    figures = [one for one in section.iter("figure") if with_class(one, "stacked")]
    assert [text_of(one.find("figcaption")) for one in figures] == [
        "raspberry-pi-5, cortex-a76",
        "raspberry-pi-5, max, earlier result, 2026-03-04",
        "raspberry-pi-4b, cortex-a72, earlier result, 2026-03-04",
    ]
    longest = [max(sum(widths(bar).values()) for bar in one.iter("svg")) for one in figures]
    assert longest == [pytest.approx(100 / 3, abs=0.05), pytest.approx(100 / 3, abs=0.05), pytest.approx(100, abs=0.05)]
    assert "Earlier results that were left out: a.json: torn" in text_of(section)


def test_several_targets_are_compared_with_each_other(bundle, simulate, report):
    other = records.emulated_report(bundle, simulate, device="raspberry-pi-4b", cpu="cortex-a72")
    benches = [
        TargetBench(values=one.to_dict() | {"against": None, "baseline": None}, samples={}) for one in (report, other)
    ]
    tree = tree_of(make_record(bundle, benches, exit_code=0))
    for number, first in ((1, "raspberry-pi-5, cortex-a76"), (2, "raspberry-pi-4b, cortex-a72")):
        figures = [
            one for one in section_of(tree, f"instructions-{number}").iter("figure") if with_class(one, "stacked")
        ]
        assert len(figures) == 2
        assert text_of(figures[0].find("figcaption")) == first
    groups = [one.find(".//input").get("name") for one in tree.iter() if one.get("role") == "radiogroup"]
    assert len(set(groups)) == len(groups) == 4


def test_names_from_the_model_cannot_end_what_they_stand_in(record):
    page = report_text(record, ".html")
    assert "&lt;img" in page
    assert "<img" not in page
    empty = {"meta", "br", "input", "rect", "path", "circle"}

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            assert tag not in empty, f"<{tag}> without its end"
            self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            assert tag in empty, f"<{tag}/> is no empty element in HTML"
            assert not any(name.startswith("on") for name, _ in attrs)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []


def test_markdown_has_instructions_in_place_of_times(bundle, simulate):
    failing = records.emulated_report(bundle, simulate, failure=FAILURE, warning=WARNING)
    text = report_text(records.record_of(bundle, failing), ".md")
    lines = [line for line in text.splitlines() if line.startswith("| `onnx")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "not measured" not in line]
    by_name = {row[0].partition(" ")[0]: row[1:] for row in rows}
    assert by_name["`onnx-int8`"][:2] == ["501,200", "yes"]
    assert by_name["`onnx-int8`"][2].startswith("❌ onnxruntime 1.32.0: 10 passed; onnxruntime 1.24.4: failed: 1 of 10")
    assert by_name["`onnx-fp32`"] == [
        "1,251,200",
        "no",
        "✅ onnxruntime 1.32.0: 10 passed; onnxruntime 1.24.4: 10 passed",
        "onnxruntime 1.24.4",
        "0.04",
    ]
    assert "p95 ms" not in text
    assert f"⚠️ {WARNING}" in text


def test_junit_fails_where_golden_vectors_do(bundle, simulate, report):
    cases = report_tests.cases_of(records.record_of(bundle, replace(report, budgets=())))
    assert [cases[f"golden vectors of onnx-{kind}"] for kind in ("int8", "fp16", "fp32")] == ["passed"] * 3
    assert "measured" not in cases
    failing = records.record_of(bundle, records.emulated_report(bundle, simulate, failure=FAILURE))
    assert failing.exit_code == 1
    cases = report_tests.cases_of(failing)
    assert cases["golden vectors of onnx-int8"] == "failure"
    assert cases["golden vectors of onnx-fp32"] == "passed"
    assert FAILURE in report_text(failing, ".xml")


def test_a_cpu_that_is_not_the_device_s_is_said_to_be_another_one(bundle, report):
    other = replace(report, mismatch=("raspberry-pi-5 is emulated by cortex-a76, this is max",), provenance=None)
    page = report_text(records.record_of(bundle, other), ".html")
    assert "It does not count as raspberry-pi-5: raspberry-pi-5 is emulated by cortex-a76, this is max." in page
    assert "Nothing was timed" not in page


def test_what_no_layer_accounts_for_is_nowhere_below_zero(report):
    variants = {one.name: one for one in counted_variants(report.to_dict())}
    assert rest_of(variants["onnx-fp32"]) == ClassCounts(other=49_600)
    assert rest_of(variants["onnx-int8"]) == ClassCounts(other=100_000)


def test_formats_stay_together_and_floats_come_first():
    names = ("tflite-int8", "onnx-int8", "tflite-fp32", "model.onnx", "tflite-int8-dynamic")
    variants = [CountedVariant(name=name, counts=ClassCounts(other=1)) for name in names]
    assert [[one.name for one in group] for group in by_format(variants)] == [
        ["tflite-fp32", "tflite-int8", "tflite-int8-dynamic"],
        ["onnx-int8"],
        ["model.onnx"],
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1_000, "1.0 k"), (138_719, "138.7 k"), (999_949, "999.9 k"), (999_950, "1.00 M"),
     (12_345_678, "12.35 M"), (1_234_567_890, "1,234.57 M")],
)  # fmt: skip
def test_counts_are_written_in_thousands_and_millions(count, text):
    assert count_text(count) == text


def test_limits_of_millions_keep_their_digits():
    assert limit_text({"name": "instructions", "limit": 12_345_678.0}) == "≤ 12,345,678"
