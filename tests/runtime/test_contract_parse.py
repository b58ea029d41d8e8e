"""Contracts: what is read, what is refused with which fault, and that nothing is lost on the way back."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from edgeml_runtime.contract import BudgetName, Contract, MetricName, Provenance, Statistic
from edgeml_runtime.contract_file import read_contract_file
from edgeml_runtime.contract_parse import contract_sha256, contract_to_dict, parse_contract
from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_runtime.tensors import DType, OutputRole

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[model]
name = "my-words"
version = "1.0.0"
[[inputs]]
name = "waveform"
dtype = "int16"
shape = [8000]
range = [-32768, 32767]
unit = "PCM sample"
source = "microphone"
loader = { name = "wav", version = 1, sample_rate_hz = 8000 }
[[outputs]]
name = "logits"
role = "logits"
shape = [2]
[[outputs]]
name = "scores"
role = "scores"
shape = [2]
labels = ["yes", "no"]
[target]
name = "word"
kind = "classification"
[metric]
primary = "accuracy"
floor = 0.9
[groups]
key = "speaker"
[budgets.host]
latency_ms_p95 = 5
peak_rss_mb = { limit = 200, variant = "onnx-int8", threads = 1, accepts = ["measured", "estimated"] }
[[telemetry]]
name = "level"
tensor = "waveform"
statistic = "rms"
bins = 4
range = [0, 100]
[data]
path = "anywhere"
[train]
epochs = 3
"""


def write(folder: Path, text: str) -> Path:
    """Write an ``edgeml.toml`` into a folder."""
    path = folder / "edgeml.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(folder: Path, text: str) -> dict[str, str]:
    """Key path → fault text of a contract that must be refused."""
    with pytest.raises(ContractError) as caught:
        read_contract_file(write(folder, text))
    return {fault.path: str(fault) for fault in caught.value.faults}


def test_a_good_contract_becomes_values(tmp_path: Path) -> None:
    read = read_contract_file(write(tmp_path, GOOD))
    contract = read.contract
    assert (contract.name, contract.version, contract.group) == ("my-words", "1.0.0", "speaker")
    waveform = contract.inputs[0]
    assert (waveform.dtype, waveform.shape, waveform.range) == (DType.INT16, (8000,), (-32768.0, 32767.0))
    assert waveform.loader is not None
    assert dict(waveform.loader.options) == {"sample_rate_hz": 8000}
    assert [output.role for output in contract.outputs] == [OutputRole.LOGITS, OutputRole.SCORES]
    assert contract.outputs[1].labels == ("yes", "no")
    assert contract.metric.primary is MetricName.ACCURACY
    latency, memory = sorted(contract.budgets, key=lambda budget: budget.name.value)
    assert (latency.name, latency.limit, latency.variant) == (BudgetName.LATENCY_MS_P95, 5.0, None)
    assert (memory.variant, memory.threads) == ("onnx-int8", 1)
    assert memory.accepts == (Provenance.MEASURED, Provenance.ESTIMATED)
    assert contract.telemetry[0].edges == (0.0, 25.0, 50.0, 75.0, 100.0)
    assert contract.telemetry[0].statistic is Statistic.RMS
    assert (read.data, read.train) == ({"path": "anywhere"}, {"epochs": 3})


def test_the_folder_serves_as_well_as_the_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert read_contract_file(tmp_path).contract == read_contract_file(tmp_path / "edgeml.toml").contract


# One change to the good contract → where the fault is, and a part of what it says.
CASES = {
    "no metric": ('primary = "accuracy"\n', "", "metric.primary", "question: Which metric decides"),
    "no floor": ("floor = 0.9\n", "", "metric.floor", "question: Which value must a model reach"),
    "floor above one": ("floor = 0.9", "floor = 97", "metric.floor", "a share from 0 to 1"),
    "unknown metric": ('"accuracy"', '"acuracy"', "metric.primary", "did you mean 'accuracy'?"),
    "metric of another kind": ('"accuracy"', '"mae"', "metric.primary", "for classification"),
    "no source": ('source = "microphone"\n', "", "inputs[0].source", "question: Where does this value come from"),
    "labels do not match": ('["yes", "no"]', '["yes"]', "outputs[1].labels", "expected 2 labels"),
    "labels twice": ('["yes", "no"]', '["yes", "yes"]', "outputs[1].labels", "'yes' twice"),
    "no scores": ('role = "scores"', 'role = "value"', "outputs", "question: Which output holds the score"),
    "no role": ('role = "scores"\n', "", "outputs[1].role", "question: Is this output logits"),
    "logits of another shape": (
        'role = "logits"\nshape = [2]',
        'role = "logits"\nshape = [3]',
        "outputs",
        "same shape",
    ),
    "range beyond the dtype": ("[-32768, 32767]", "[-40000, 32767]", "inputs[0].range", "what int16 can hold"),
    "range upside down": ("[-32768, 32767]", "[9, 1]", "inputs[0].range", "the smaller first"),
    "range of three": ("[-32768, 32767]", "[1, 2, 3]", "inputs[0].range", "[1, 2, 3]"),
    "range with NaN": ("[-32768, 32767]", "[nan, 1.0]", "inputs[0].range", "nan"),
    "fractions for integers": ("[-32768, 32767]", "[0.5, 7]", "inputs[0].range", "integers"),
    "zero in the shape": ("shape = [8000]", "shape = [0]", "inputs[0].shape", "positive integers"),
    "empty shape": ("shape = [8000]", "shape = []", "inputs[0].shape", "write [1]"),
    "huge shape": ("shape = [8000]", "shape = [100000, 100000]", "inputs[0].shape", "at most"),
    "shape of text": ("shape = [8000]", 'shape = "8000"', "inputs[0].shape", "'8000'"),
    "missing values in integers": (
        'unit = "PCM sample"',
        'unit = "x"\nallow_missing = true',
        "inputs[0].allow_missing",
        "NaN",
    ),
    "unknown dtype": ('"int16"', '"int17"', "inputs[0].dtype", "did you mean 'int16'?"),
    "misspelt key": ("unit =", "units =", "inputs[0].units", "did you mean 'unit'?"),
    "misspelt table": ("[metric]", "[metrics]", "metrics", "did you mean 'metric'?"),
    "loader without version": (", version = 1", "", "inputs[0].loader.version", "nothing"),
    "version of two parts": ('"1.0.0"', '"1.0"', "model.version", "MAJOR.MINOR.PATCH"),
    "name with capitals": ('"my-words"', '"My Words"', "model.name", "lower-case"),
    "budget of nothing known": (
        "latency_ms_p95",
        "latency_p95",
        "budgets.host.latency_p95",
        "did you mean 'latency_ms_p95'",
    ),
    "budget below zero": ("latency_ms_p95 = 5", "latency_ms_p95 = -5", "budgets.host.latency_ms_p95.limit", "-5"),
    "budget for no variant": ('"onnx-int8"', '"onnx-int4"', "budgets.host.peak_rss_mb.variant", "not exported"),
    "budget nothing can decide": (
        '["measured", "estimated"]',
        "[]",
        "budgets.host.peak_rss_mb.accepts",
        "nothing could",
    ),
    "telemetry of nothing": (
        'tensor = "waveform"',
        'tensor = "wave"',
        "telemetry[0].tensor",
        "question: Where does this feature",
    ),
    "edges and bins": ("bins = 4", "bins = 4\nedges = [1, 2]", "telemetry[0].bins", "question: Which of the two"),
    "group is the target": ('key = "speaker"', 'key = "word"', "groups.key", "question: Who or what was recorded"),
    "target of no kind": ('kind = "classification"', 'kind = "guess"', "target.kind", "classification"),
    "text where a number goes": ("floor = 0.9", 'floor = "high"', "metric.floor", "'high'"),
    "truth where a number goes": ("floor = 0.9", "floor = true", "metric.floor", "true"),
    "input name with a blank": ('name = "waveform"', 'name = "wave form"', "inputs[0].name", "letters"),
}


@pytest.mark.parametrize(("old", "new", "path", "says"), CASES.values(), ids=CASES)
def test_a_fault_says_where_and_what(tmp_path: Path, old: str, new: str, path: str, says: str) -> None:
    assert old in GOOD
    faults = faults_of(tmp_path, GOOD.replace(old, new))
    assert path in faults
    assert says in faults[path]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("floor = 0.9\n", "").replace('"int16"', '"int17"').replace("[8000]", "[-1]").replace("1.0.0", "1")
    )
    assert set(faults_of(tmp_path, text)) == {"metric.floor", "inputs[0].dtype", "inputs[0].shape", "model.version"}


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "outputs[1].name" in faults_of(tmp_path, GOOD.replace('name = "scores"', 'name = "logits"'))
    assert "outputs[0].name" in faults_of(tmp_path, GOOD.replace('name = "logits"', 'name = "waveform"'))


def test_an_empty_file_asks_for_everything(tmp_path: Path) -> None:
    assert {"model", "inputs", "outputs", "target", "metric"} <= set(faults_of(tmp_path, ""))


def test_export_rules_hang_together(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, GOOD + '[export]\nvariants = ["onnx-fp32", "onnx-fp7"]\nrequired = ["tflite-fp32"]\n')
    assert "one of onnx-fp32" in faults["export.variants[1]"]
    assert "not exported" in faults["export.required[0]"]


def test_syntax_and_encoding_name_the_line(tmp_path: Path) -> None:
    assert "line 2" in faults_of(tmp_path, "[model]\nname = = 3\n")["syntax"]
    (tmp_path / "edgeml.toml").write_bytes(b"[model]\nname = '\xff'\n")
    with pytest.raises(ContractError, match="line 2: expected UTF-8"):
        read_contract_file(tmp_path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="edgeml init"):
        read_contract_file(tmp_path)
    with pytest.raises(ProjectError, match="edgeml init"):
        read_contract_file(tmp_path / "nowhere")


def test_own_tables_must_be_tables(tmp_path: Path) -> None:
    assert set(faults_of(tmp_path, "data = 3\n")) == {"data"}


@pytest.mark.parametrize("value", [None, 3, "text", [], [1], {}, True, {"a": {}}, [[]], [{}], float("inf"), [None]])
@pytest.mark.parametrize(
    "key",
    ["model", "inputs", "outputs", "target", "metric", "slices", "groups", "export", "gate", "budgets", "telemetry"],
)
def test_rubbish_anywhere_is_a_contract_error_or_nothing(tmp_path: Path, key: str, value: object) -> None:
    data = contract_to_dict(read_contract_file(write(tmp_path, GOOD)).contract)
    with suppress(ContractError):
        parse_contract({**data, key: value}, source="rubbish")


def test_rubbish_in_any_leaf_raises_nothing_else(tmp_path: Path) -> None:
    data = contract_to_dict(read_contract_file(write(tmp_path, GOOD)).contract)
    generator = random.Random(7)
    rubbish = [None, -1, 10**40, "", "x", [], {}, True, float("nan"), [1, "a"], {"x": 1}]
    for _ in range(800):
        changed = json.loads(json.dumps(data))
        replace_one(changed, generator, generator.choice(rubbish))
        with suppress(ContractError):
            assert isinstance(parse_contract(changed, source="rubbish"), Contract)


def replace_one(document: Any, generator: random.Random, value: object) -> None:
    """Put a value somewhere into nested tables and lists."""
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = generator.choice(keys)
    inner = document[key]
    if isinstance(inner, dict | list) and inner and generator.random() < 0.8:
        replace_one(inner, generator, value)
    else:
        document[key] = value


def test_nothing_is_lost_on_the_way_back(tmp_path: Path) -> None:
    contract = read_contract_file(write(tmp_path, GOOD)).contract
    document = json.loads(json.dumps(contract_to_dict(contract)))
    assert parse_contract(document, source="again") == contract
    assert contract_to_dict(parse_contract(document, source="again")) == document


def test_the_hash_depends_on_content_not_on_spelling(tmp_path: Path) -> None:
    one = contract_to_dict(read_contract_file(write(tmp_path, GOOD)).contract)
    respelt = GOOD.replace("bins = 4\nrange = [0, 100]", "edges = [0, 25, 50, 75, 100]").replace(
        "= 5\n", "= {limit = 5.0}\n"
    )
    two = contract_to_dict(read_contract_file(write(tmp_path, respelt)).contract)
    assert contract_sha256(one) == contract_sha256(two)
    three = contract_to_dict(read_contract_file(write(tmp_path, GOOD.replace("0.9", "0.91"))).contract)
    assert contract_sha256(one) != contract_sha256(three)
