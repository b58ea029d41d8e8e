"""``edgeml bench --report`` and ``--history``: what is refused at once, and the files that are written."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from onnx import TensorProto, helper

FORMATS = ("json", "xml", "md", "html")


@pytest.fixture
def model(tmp_path):
    """Softmax of four numbers."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "tiny", values[:1], values[1:])
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx_model.ir_version = 9
    path = tmp_path / "tiny.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report", "a.pdf"], "expected one of the endings .json, .xml, .md, .html; found .pdf"),
        (["--report", "a"], "found none"),
        (["--report", "a.md", "--report", "a.md"], "named twice"),
        (["--report", "no/a.md"], "its folder does not exist"),
        (["--report", "a.md", "--history", "."], "add --report FILE.html"),
        (["--report", "a.md", "--recommend"], "leave --recommend out"),
        (["--report", "a.html", "--history", "tiny.onnx"], "found no JSON"),
    ],
)
def test_wrong_reports_are_refused_before_measuring(edgeml, model, monkeypatch, options, words):
    monkeypatch.chdir(model.parent)
    outcome = edgeml("bench", model.name, *options)
    assert outcome.code == 2
    assert words in " ".join(outcome.stderr.split())
    assert sorted(entry.name for entry in model.parent.iterdir()) == ["tiny.onnx"]


def test_every_format_is_written_and_said_to_be(edgeml, model, tmp_path):
    files = [tmp_path / f"run.{ending}" for ending in FORMATS]
    options = [word for file in files for word in ("--report", file)]
    outcome = edgeml("bench", model, "--device", "raspberry-pi-2b", *options)
    assert outcome.code == 4
    said = [line for line in outcome.stderr.splitlines() if line.startswith("wrote")]
    assert said == [f"wrote {file}" for file in files]
    values = json.loads(files[0].read_text(encoding="utf-8"))
    assert (values["device"], values["exit_code"]) == ("raspberry-pi-2b", 4)
    (case,) = ET.parse(files[1]).getroot().iter("testcase")
    assert (case.get("name"), case[0].tag) == ("measured", "skipped")
    assert files[2].read_text(encoding="utf-8").startswith("### ❔ tiny.onnx for raspberry-pi-2b")
    assert files[3].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_with_json_stdout_stays_one_object(edgeml, model, tmp_path):
    outcome = edgeml("bench", model, "--device", "raspberry-pi-2b", "--json", "--report", tmp_path / "run.md")
    assert outcome.json()["device"] == "raspberry-pi-2b"
    assert "wrote" not in outcome.stderr
    assert (tmp_path / "run.md").is_file()


def test_the_report_of_one_target_names_it(edgeml, model, tmp_path):
    edgeml("bench", model, "--device", "raspberry-pi-2b", "--on", "local", "--report", tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["target"] == "local"


def test_a_target_that_is_lost_at_once_still_has_a_report(edgeml, model, tmp_path):
    outcome = edgeml("bench", model, "--on", "ssh://nobody@127.0.0.1:1", "--report", tmp_path / "run.xml")
    assert outcome.code == 3
    (case,) = ET.parse(tmp_path / "run.xml").getroot().iter("testcase")
    assert (case.get("name"), case[0].tag) == ("target", "error")
    assert case[0].text in outcome.stderr
