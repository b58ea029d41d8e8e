"""Reports of a bench: what they say is what the bench found, in every format."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgeml_devices.past import read_benches
from edgeml_devices.reports import TargetBench, check_report_path, make_record, read_history, report_text, write_report
from edgeml_devices.reports.markdown import MAX_CHARACTERS
from edgeml_devices.reports.pareto import on_the_front
from edgeml_runtime.errors import InputError, StorageError

_SPEC = importlib.util.spec_from_file_location("report_records", Path(__file__).with_name("report_records.py"))
records = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(records)

# The schema of Jenkins's xunit plug-in, junit-10.xsd: element → attributes that must and may be there, and children.
_ANY = "name tests failures errors time disabled skipped timestamp hostname id package"
JUNIT = {
    "testsuites": ("", "name time tests failures disabled errors", "testsuite"),
    "testsuite": ("tests", _ANY, "testsuite properties testcase system-out system-err"),
    "properties": ("", "", "property"),
    "property": ("name value", "name value", ""),
    "testcase": (
        "name",
        "name classname time timestamp status file line",
        "skipped error failure system-out system-err",
    ),
    "failure": ("", "type message", ""),
    "error": ("", "type message", ""),
    "skipped": ("", "type message", ""),
    "system-out": ("", "", ""),
}


def junit_faults(element):
    must, may, children = (set(words.split()) for words in JUNIT[element.tag])
    faults = [f"{element.tag}: {must - set(element.attrib)} missing"] if must - set(element.attrib) else []
    faults += [f"{element.tag}: attribute {name}" for name in set(element.attrib) - may]
    for child in element:
        faults += [f"{child.tag} in {element.tag}"] if child.tag not in children else junit_faults(child)
    return faults


@pytest.fixture
def variants(measured, samples):
    return records.measured_variants(measured, samples)


@pytest.fixture
def benched(make_bundle, model_content, simulate, variants):
    """A bundle and its bench, which nothing changes: made once."""
    if not _MADE:
        bundle = records.tiny_bundle(make_bundle, model_content)
        _MADE.append((bundle, records.simulated_report(bundle, simulate, variants)))
    return _MADE[0]


_MADE = []


@pytest.fixture
def bundle(benched):
    return benched[0]


@pytest.fixture
def report(benched):
    return benched[1]


@pytest.fixture
def record(bundle, report):
    return records.record_of(bundle, report, against=records.compared().to_dict(), exit_code=1)


def cases_of(record):
    root = ET.fromstring(report_text(record, ".xml"))
    assert junit_faults(root) == []
    found = {}
    for case in root.iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "system-out"]
        found[case.get("name")] = kinds[0] if kinds else "passed"
    assert len(found) == len(list(root.iter("testcase"))), "names are told apart"
    return found


def test_json_holds_the_report_and_every_sample(record, report, tmp_path):
    values = json.loads(report_text(record, ".json"))
    plain = json.loads(json.dumps(report.to_dict()))
    assert {key: values[key] for key in plain if key not in ("subject", "measured_at")} == {
        key: value for key, value in plain.items() if key not in ("subject", "measured_at")
    }
    assert plain["subject"].items() <= values["subject"].items()
    assert values["subject"]["variants"]["onnx-int8"]["value"] == 0.95
    assert values["samples"].keys() == report.samples.keys()
    for name, one in report.samples.items():
        assert [len(times) for times in values["samples"][name]] == [len(times) for times in one.rounds_ns]
        assert sum(map(sum, values["samples"][name])) == int(one.all_ns.sum())


def test_what_json_holds_can_be_read_again(record, report, tmp_path):
    write_report(record, tmp_path / "run.json")
    (facts,) = read_benches(tmp_path / "run.json")
    assert facts.measured_at == records.MADE_AT
    assert (facts.name, facts.device) == ("tiny", "raspberry-pi-4b")
    (other,) = read_history([tmp_path]).runs
    assert other == facts


def test_several_targets_are_one_report(bundle, report):
    values = report.to_dict()
    lost = {"target": "ssh://b", "lost": "no route", "left": []}
    benches = [
        TargetBench(values={"target": "ssh://a.b", **values, "left": []}, samples=report.samples),
        TargetBench(values=lost, samples={}),
    ]
    record = make_record(bundle, benches, exit_code=3)
    assert [target["target"] for target in record.to_dict()["targets"]] == ["ssh://a.b", "ssh://b"]
    root = ET.fromstring(report_text(record, ".xml"))
    assert [suite.get("name").rpartition(" ")[2] for suite in root] == ["ssh://a.b", "ssh://b"]
    assert (root.get("errors"), root[1][0].find("error").text) == ("1", "no route")
    assert {case.get("classname") for case in root[0].iter("testcase")} == {"tiny.raspberry-pi-4b.ssh://a-b"}
    assert "#### raspberry-pi-4b on ssh://a.b" in report_text(record, ".md")
    assert "**Lost:** no route" in report_text(record, ".md")
    page = report_text(record, ".html")
    assert 'id="budgets-1"' in page
    assert "no route" in page


def test_junit_says_what_became_of_every_budget_and_ratio(record):
    assert cases_of(record) == {
        "latency_ms_p50 of onnx-int8": "failure",
        "latency_ms_p95 of onnx-int8": "passed",
        "cold_start_ms of onnx-int8": "skipped",
        "bundle_mb": "passed",
        "instructions of onnx-int8": "skipped",
        "speed ratio of onnx-int8": "failure",
        "speed ratio of onnx-fp32": "passed",
    }
    root = ET.fromstring(report_text(record, ".xml"))
    (suite,) = root
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["7", "2", "0", "2"]
    failure = next(suite.iter("failure"))
    assert failure.text == failure.get("message")
    assert re.fullmatch(r"fail: found [01]\.\d+, 95 % interval 0\.9\d+ – 1\.\d+, expected ≤ 0\.5 ms", failure.text)


def test_figures_beside_an_earlier_result_are_cases_and_rows(bundle, report):
    record = records.record_of(bundle, report, baseline=records.beside(report), exit_code=1)
    found = cases_of(record)
    assert found["bundle_mb of the file beside the earlier result"] == "passed"
    assert found["latency_ms_p50 of onnx-int8 beside the earlier result"] == "failure"
    text = report_text(record, ".md")
    assert "Beside the earlier result `earlier.json`" in text
    assert re.search(r"\| `onnx-int8` \| `latency_ms_p50` \| 0\.\d+ \| [01]\.\d+ \| 2 \| .* \| ❌ fail \|", text)
    assert "| the file |" not in text
    assert "Beside the earlier result: " in text.splitlines()[0]


KINDS = {0: set(), 1: {"failure"}, 3: {"error"}, 4: {"skipped"}}


@pytest.mark.parametrize(
    ("budgets", "machine", "changes", "code"),
    [
        ({"latency_ms_p50": 5.0}, "pi 4", {}, 0),
        ({}, "pi 4", {}, 0),
        ({"latency_ms_p50": 0.1}, "pi 4", {}, 1),
        ({"latency_ms_p50": 1.0}, "pi 4", {}, 4),
        ({"latency_ms_p50": 5.0}, "pc", {}, 4),
        ({}, "pc", {}, 4),
        ({}, "pi 4", {"lost": "gone"}, 3),
        ({"latency_ms_p50": 5.0}, "pi 4", {"variants": "too big"}, 1),
    ],
)
def test_junit_and_exit_code_agree(make_bundle, model_content, simulate, variants, budgets, machine, changes, code):
    bundle = records.tiny_bundle(make_bundle, model_content, {"raspberry-pi-4b": budgets} if budgets else None)
    report = records.simulated_report(bundle, simulate, variants, machine)
    if changes.get("variants"):
        changes = {"variants": tuple(replace(one, fits=False, reason="too big") for one in report.variants)}
    report = replace(report, **changes)
    assert report.exit_code == code
    found = set(cases_of(records.record_of(bundle, report)).values()) - {"passed"}
    assert KINDS[code] <= found
    assert not found & ({"failure", "error"} - KINDS[code])


def test_text_of_others_stays_text(bundle, report):
    evil = replace(report, notes=(records.EVIL,), mismatch=(), model=records.EVIL)
    record = records.record_of(bundle, evil, against=records.compared(records.EVIL).to_dict())
    cases_of(record)
    markdown = report_text(record, ".md")
    assert "<img" not in re.sub(r"`[^`]*`", "", markdown)
    assert "@team" not in re.sub(r"`[^`]*`", "", markdown)
    assert "\n## e" not in markdown
    for line in markdown.splitlines():
        assert not line.startswith("|") or re.sub(r"`[^`]*`", "", line).count("|") in (6, 7, 10)
    page = report_text(record, ".html")
    assert "<img" not in page
    ET.fromstring(page.partition("\n")[2])


def test_markdown_begins_with_the_verdict_and_folds_the_details(record):
    lines = report_text(record, ".md").splitlines()
    assert lines[0] == "### ❌ tiny 1.0.0 for raspberry-pi-4b: 2 failed, 1 inconclusive, 1 not measured, 3 passed."
    text = "\n".join(lines)
    assert "| `latency_ms_p50` | `onnx-int8` | ≤ 0.5 ms |" in text
    assert "| `onnx-int8` | 1.210 | 1.18 – 1.24 | 6 | ❌ fail |" in text
    assert text.index("| budget |") < text.index("| variant | p50 ms |") < text.index("<details>")
    assert "SHA-256" in text.partition("<details>")[2]


@pytest.mark.parametrize("many", ["notes", "budgets"])
def test_markdown_fits_into_a_comment(bundle, report, many):
    if many == "notes":
        long = replace(report, notes=tuple(f"note {number} " + "x" * 300 for number in range(400)))
    else:
        long = replace(report, budgets=report.budgets * 400)
    text = report_text(records.record_of(bundle, long), ".md")
    assert len(text) <= MAX_CHARACTERS
    assert "Cut to what a comment may hold" in text
    assert text.startswith("### ")
    assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], ()),
        ([(1.0,)], (True,)),
        ([(1, 1), (1, 1)], (True, True)),
        ([(1, 2), (2, 1), (2, 2)], (True, True, False)),
        ([(1, 1, 3), (1, 2, 3), (2, 1, 1)], (True, False, True)),
    ],
)
def test_the_front_is_what_nothing_beats(points, front):
    assert on_the_front(points) == front


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.pdf", r"ends in one of \.json, \.xml, \.md, \.html; found \.pdf"),
        ("report", "found no ending"),
        ("missing/report.md", "its folder does not exist"),
        ("taken.html", "found a folder"),
    ],
)
def test_places_that_cannot_be_written_to_are_refused_before_measuring(tmp_path, name, words):
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(InputError, match=words):
        check_report_path(tmp_path / name)


def test_a_report_is_written_whole_or_not_at_all(record, tmp_path, monkeypatch):
    path = tmp_path / "run.md"
    write_report(record, path)
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr("os.replace", _full)
    with pytest.raises(StorageError, match=r"run\.md: the report cannot be written: No space left"):
        write_report(record, path)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".run")] == []


def _full(*_):
    raise OSError(28, "No space left on device")


def test_history_takes_the_reports_of_a_folder_in_order_and_says_what_it_left_out(record, tmp_path):
    for day in (9, 7, 8):
        values = record.to_dict() | {"measured_at": f"2026-02-{day:02d}T00:00:00+00:00"}
        (tmp_path / f"{day}.json").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "other.json").write_text('{"a": 1}', encoding="utf-8")
    (tmp_path / "torn.json").write_text('{"a": ', encoding="utf-8")
    history = read_history([tmp_path])
    assert [run.measured_at.day for run in history.runs] == [7, 8, 9]
    assert len(history.left_out) == 2
    with pytest.raises(InputError, match=r"torn\.json: expected"):
        read_history([tmp_path / "torn.json"])
