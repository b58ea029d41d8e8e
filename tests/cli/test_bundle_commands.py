"""``inspect``, ``predict``, ``bench`` and ``schema`` on a bundle with one-node models."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.manifest import ModelFormat, Variant

MODELS = Path(__file__).resolve().parents[1] / "runtime" / "data" / "models"
LABELS = ["top", "upper", "lower", "bottom"]
CONTRACT = {
    "model": {"name": "probe", "version": "1.0.0", "description": "Softmax over the mean of each row."},
    "inputs": [
        {
            "name": "image",
            "dtype": "uint8",
            "shape": [4, 4, 1],
            "range": [0, 255],
            "unit": "grey level",
            "source": "camera",
            "loader": {"name": "image", "version": 1},
        }
    ],
    "outputs": [{"name": "scores", "role": "scores", "dtype": "float32", "shape": [4], "labels": LABELS}],
    "target": {"name": "row", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.5},
}
BRIGHT_LOWER = np.array([[0] * 4, [10] * 4, [250] * 4, [20] * 4], np.uint8)[..., np.newaxis]


def variant(model_format, backend):
    return Variant(
        id=f"{model_format.value}-fp32",
        file=f"variants/{model_format.value}-fp32.{model_format.value}",
        format=model_format,
        precision="fp32",
        backend=backend,
        min_backend_version="1.0",
        requires_isa=(),
        inputs={"image": "pixels"},
        outputs={"scores": "probabilities"},
        weight_bytes=0,
        metrics={},
        parity={},
    )


@pytest.fixture
def bundle(tmp_path):
    """A bundle of two variants without scores or golden vectors."""
    variants = [variant(ModelFormat.ONNX, "onnxruntime"), variant(ModelFormat.TFLITE, "litert")]
    members = {entry.file: (MODELS / f"pixels.{entry.format.value}").read_bytes() for entry in variants}
    path = tmp_path / "probe-1.0.0.edgeml"
    write_bundle(path, contract=parse_contract(CONTRACT, source="test"), variants=variants, members=members)
    return path


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0]).save(buffer, format="PNG")
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


SOURCES = {
    "x.png": png(BRIGHT_LOWER),
    "x.npy": npy(BRIGHT_LOWER),
    "x.json": json.dumps(BRIGHT_LOWER.tolist()).encode(),
    "named.json": json.dumps({"image": BRIGHT_LOWER.tolist()}).encode(),
}


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("name", SOURCES)
def test_predict_reads_every_kind_of_source(edgeml, bundle, tmp_path, monkeypatch, name, piped):
    source = tmp_path / name
    source.write_bytes(SOURCES[name])
    if piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SOURCES[name])))
    outcome = edgeml("predict", bundle, "-" if piped else source, "--json")
    assert outcome.code == 0, outcome.stderr
    report = outcome.json()
    assert (report["label"], report["variant"]) == ("lower", "onnx-fp32")
    assert report["score"] == max(report["scores"].values())
    assert list(report["scores"]) == LABELS
    assert report["outputs"]["scores"] == pytest.approx(list(report["scores"].values()))


def test_predict_for_a_person(edgeml, bundle, tmp_path):
    (tmp_path / "x.png").write_bytes(SOURCES["x.png"])
    outcome = edgeml("predict", bundle, tmp_path / "x.png", "--variant", "tflite-fp32", "--threads", "1")
    assert outcome.code == 0, outcome.stderr
    source, _, scores = outcome.stdout.partition("\n\n")
    assert scores.split()[0] == "lower"
    assert source.endswith("(tflite-fp32)")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npy", npy(BRIGHT_LOWER.astype(np.float32)), "expected dtype uint8, found float32"),
        ("x.npy", npy(BRIGHT_LOWER[:3]), "expected shape [4, 4, 1], found [3, 4, 1]"),
        ("x.png", b"no picture", "x.png"),
        ("x.json", b'{"sound": []}', "expected the inputs image, found sound"),
    ],
)
def test_predict_refuses_what_does_not_fit(edgeml, bundle, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    outcome = edgeml("predict", bundle, tmp_path / name)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert says in outcome.stderr


def test_predict_on_a_backend(edgeml, bundle, tmp_path):
    (tmp_path / "x.png").write_bytes(SOURCES["x.png"])
    report = edgeml("predict", bundle, tmp_path / "x.png", "--backend", "litert", "--json").json()
    assert (report["label"], report["variant"], report["backend"]) == ("lower", "tflite-fp32", "litert")
    outcome = edgeml("predict", bundle, tmp_path / "x.png", "--backend", "openvino")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "onnx-fp32: was scored with onnxruntime, and the bundle has no golden vectors" in outcome.stderr


def test_predict_names_the_variants_it_knows(edgeml, bundle, tmp_path):
    (tmp_path / "x.png").write_bytes(SOURCES["x.png"])
    outcome = edgeml("predict", bundle, tmp_path / "x.png", "--variant", "onnx-int4")
    assert outcome.code == 2
    assert "onnx-fp32" in outcome.stderr


def test_inspect_shows_contract_variants_and_files(edgeml, bundle):
    outcome = edgeml("inspect", bundle)
    assert outcome.code == 0, outcome.stderr
    for part in ("probe 1.0.0", "uint8", "4×4×1", "grey level, camera", "onnx-fp32", "litert 1.0+", "verified"):
        assert part in outcome.stdout
    report = edgeml("inspect", bundle, "--json").json()
    assert report["verified"] is True
    assert report["bytes"] == bundle.stat().st_size
    assert [entry["id"] for entry in report["variants"]] == ["onnx-fp32", "tflite-fp32"]


def test_inspect_verifies_every_member(edgeml, bundle):
    content = bytearray(bundle.read_bytes())
    content[content.rindex(b"probabilities", 0, content.rindex(b"PK\x01\x02"))] ^= 1
    bundle.write_bytes(content)
    outcome = edgeml("inspect", bundle)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "variants/tflite-fp32.tflite was altered" in outcome.stderr


def test_bench_of_one_variant(edgeml, bundle):
    outcome = edgeml("bench", bundle, "--variant", "onnx-fp32", "--time-limit", "0.001", "--json")
    assert outcome.code == 0, outcome.stderr
    (figures,) = outcome.json()["variants"]
    assert figures["id"] == "onnx-fp32"
    assert 0 < figures["latency_ms"]["min"] <= figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]


def test_bench_against_another_bundle(edgeml, bundle, tmp_path):
    other = tmp_path / "other.edgeml"
    other.write_bytes(bundle.read_bytes())
    outcome = edgeml("bench", bundle, "--variant", "onnx-fp32", "--time-limit", "0.001", "--against", other, "--json")
    against = outcome.json()["against"]
    assert (against["other"], against["tolerance"], against["left_out"]) == (str(other), 0.05, [])
    (ratio,) = against["ratios"]
    assert (ratio["variant"], ratio["processes"], ratio["verdict"], outcome.code) == ("onnx-fp32", 1, "inconclusive", 4)


def test_schema_is_one_json_object(edgeml):
    outcome = edgeml("schema")
    assert outcome.json() == edgeml("schema", "--json").json()
    assert {"model", "inputs", "outputs", "train"} <= set(outcome.json()["properties"])


def test_bench_for_another_device_is_not_measured_and_exits_4(edgeml, bundle):
    outcome = edgeml("bench", bundle, "--device", "raspberry-pi-4b", "--json")
    assert (outcome.code, outcome.json()["provenance"]) == (4, "not_measured")
