"""Models that were made elsewhere, wrapped whole: file in, bundle out, and what a device does with it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from edgeml_evaluate import LabelledData
from edgeml_export.foreign import export_foreign
from edgeml_export.foreign.data import ForeignData
from edgeml_export.foreign.file import ForeignLimits
from edgeml_export.quiet import quiet
from edgeml_export.without_vnni import emulator
from edgeml_runtime import Bundle, Model
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.golden import read_golden
from edgeml_runtime.histograms import HISTOGRAMS, read_histograms
from edgeml_runtime.manifest import InputEncoding


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = load("foreign_models")
SIGNED = {"dtype": "int8", "span": (-128, 127)}


def quantized(features, *, scale=models.INPUT_SCALE, zero_point=0, dtype=np.int8):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(features / scale) + zero_point, limits.min, limits.max).astype(dtype)


def data_of(contract, features, targets):
    return ForeignData(test=LabelledData(inputs={contract.inputs[0].name: features}, targets=targets))


@pytest.fixture
def wrap(tmp_path):
    """Wrap bytes under a name, with items or without."""

    def run(content, contract, *, name="model.tflite", items=None, **named):
        source = tmp_path / name
        source.write_bytes(content)
        data = None if items is None else data_of(contract, *items)
        out = tmp_path / "foreign-1.0.0.edgeml"
        return export_foreign(source, contract=contract, out=out, data=data, unscored=data is None, **named)

    return run


def variant_of(report):
    with Bundle.open(report.bundle) as bundle:
        (variant,) = bundle.manifest.variants
        return variant, bundle.read(variant.file)


FORMS = {
    "tflite-fp32": ("model.tflite", models.tflite_float()),
    "tflite-fp16": ("model.tflite", models.tflite_float(weights="FLOAT16")),
    "tflite-w8": ("model.tflite", models.tflite_float(weights="INT8")),
    "tflite-int8-dynamic": ("model.tflite", models.tflite_float(weights="hybrid")),
    "onnx-fp32": ("model.onnx", models.onnx_file()),
}


@pytest.mark.parametrize("variant_id", FORMS)
def test_a_file_is_wrapped_byte_for_byte_and_passes_its_self_test(wrap, variant_id):
    name, content = FORMS[variant_id]
    contract = models.contract()
    features, targets = models.items()
    report = wrap(content, contract, name=name, items=(features, targets))
    assert report.ok
    assert report.scored
    variant, shipped = variant_of(report)
    assert variant.id == variant_id
    assert shipped == content
    assert variant.metrics["metric"]["value"] == pytest.approx(0.9, abs=0.06)
    assert variant.metrics["metric"]["n"] == len(targets)
    with Model.load(report.bundle) as model:
        assert model.self_test().passed
        expected = (features @ models.WEIGHTS.T + models.BIAS)[1].argmax()
        assert model.predict(features[1]).label == models.LABELS[expected]
    with Bundle.open(report.bundle) as bundle:
        assert sum(read_histograms(bundle)[0].counts) == len(targets)


def test_names_of_the_file_stand_in_the_manifest(wrap):
    report = wrap(models.tflite_float(), models.contract())
    variant, _ = variant_of(report)
    assert variant.inputs == {"features": "serving_x"}
    assert variant.outputs == {"scores": "StatefulPartitionedCall"}
    assert "input features is 'serving_x' float32[?, 8] of the file, by position" in report.notes


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_an_integer_output_is_turned_into_the_contracts_scores(wrap, kind):
    dtype = np.dtype(kind.lower())
    contract = models.contract(dtype=dtype.name, span=(np.iinfo(dtype).min, np.iinfo(dtype).max))
    features, targets = models.items()
    scale = models.INPUT_SCALE if kind == "INT8" else 4 / 32768
    inputs = quantized(features, scale=scale, dtype=dtype)
    report = wrap(models.tflite_int8(kind=kind), contract, items=(inputs, targets))
    assert report.ok
    variant, _ = variant_of(report)
    assert variant.id == ("tflite-int8" if kind == "INT8" else "tflite-int16x8")
    assert variant.outputs == {"scores": "y_float"}
    assert variant.min_backend_version == "1.0.1"
    assert any("DEQUANTIZE" in note for note in report.notes)
    with Model.load(report.bundle) as model:
        assert model.self_test().passed
        scores = model.predict(inputs[3]).outputs["scores"]
    logits = features[3] @ models.WEIGHTS.T + models.BIAS
    assert scores == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=0.05)


def test_pixels_over_an_int8_input_are_encoded(wrap):
    contract = models.contract(dtype="uint8", span=(0, 255))
    features, targets = models.items()
    pixels = (quantized(features).astype(int) + 128).astype(np.uint8)
    report = wrap(models.tflite_int8(), contract, items=(pixels, targets))
    signed = wrap(models.tflite_int8(), models.contract(**SIGNED), items=(quantized(features), targets))
    assert report.variants[0].metric == signed.variants[0].metric
    assert report.variants[0].parity == signed.variants[0].parity
    report = wrap(models.tflite_int8(), contract, items=(pixels, targets))
    variant, _ = variant_of(report)
    assert variant.input_encodings == {"features": InputEncoding.OFFSET_BINARY}
    with Model.load(report.bundle) as model:
        assert model.self_test().passed


def test_an_unscored_bundle_says_so_and_can_still_be_tested(wrap):
    report = wrap(models.tflite_int8(), models.contract(**SIGNED))
    assert report.ok
    assert not report.scored
    entry = report.to_dict()["variants"][0]
    assert (entry["metric"], entry["paired_loss"], entry["slices"]) == (None, None, [])
    assert json.loads(json.dumps(report.to_dict()))["scored"] is False
    variant, _ = variant_of(report)
    assert variant.metrics == {"scored": False}
    with Bundle.open(report.bundle) as bundle:
        assert len(read_golden(bundle).cases) == 8
        assert HISTOGRAMS not in {member.name for member in bundle.manifest.members}
        assert "Not scored" in bundle.read("card.md").decode()
    with Model.load(report.bundle) as model:
        assert model.self_test().passed


@pytest.mark.parametrize("scored", [True, False])
def test_inspect_shows_such_a_bundle(wrap, scored):
    features, targets = models.items()
    report = wrap(models.tflite_float(), models.contract(), items=(features, targets) if scored else None)
    command = [sys.executable, "-c", "from edgeml_cli.main import main; main()", "inspect", str(report.bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    assert ("label=low" in done.stdout) is scored


def test_the_same_file_gives_the_same_bytes(wrap):
    features, targets = models.items()
    written = []
    for _ in range(2):
        report = wrap(models.tflite_int8(), models.contract(**SIGNED), items=(quantized(features), targets))
        written.append(report.bundle.read_bytes())
    assert written[0] == written[1]


def test_steps_are_reported(wrap):
    events = []
    wrap(models.tflite_float(), models.contract(), progress=events.append)
    steps = list(dict.fromkeys(event.step for event in events))
    assert steps == ["inspect", "reference tflite-fp32", "score tflite-fp32", "write"]


@pytest.mark.parametrize(
    ("data", "unscored", "says"),
    [(None, False, "no variant ships unscored"), ("some", True, "leave one of them out")],
)
def test_evidence_is_either_given_or_renounced(tmp_path, data, unscored, says):
    source = tmp_path / "model.tflite"
    source.write_bytes(models.tflite_float())
    contract = models.contract()
    given = data_of(contract, *models.items()) if data else None
    with pytest.raises(ProjectError, match=says):
        export_foreign(source, contract=contract, out=tmp_path / "x.edgeml", data=given, unscored=unscored)
    assert not (tmp_path / "x.edgeml").exists()


def test_only_some_items_run_through_the_reference_kernels(wrap):
    report = wrap(
        models.tflite_float(), models.contract(), items=models.items(50), limits=ForeignLimits(reference_items=10)
    )
    variant = report.variants[0]
    assert (variant.parity.items, variant.paired_loss.n, variant.metric.n) == (10, 10, 50)


def test_an_ir_version_that_the_oldest_runtime_cannot_read_is_marked_lower(wrap):
    report = wrap(models.onnx_file(ir_version=10), models.contract(), name="model.onnx")
    variant, shipped = variant_of(report)
    assert onnx.load_model_from_string(shipped).ir_version == 8
    assert onnx.load_model_from_string(shipped).graph == onnx.load_model_from_string(models.onnx_file()).graph
    assert variant.min_backend_version == "1.15"
    assert any("IR version 10" in note for note in report.notes)


def test_an_operator_set_that_the_oldest_runtime_cannot_read_is_refused(wrap):
    with pytest.raises(ProjectError, match=r"operator set 19 at most.*found 20.*oldest_onnxruntime"):
        wrap(models.onnx_file(opset=20), models.contract(), name="model.onnx")
    newer = models.contract(export={"oldest_onnxruntime": "1.17"})
    assert wrap(models.onnx_file(opset=20), newer, name="model.onnx").ok


def test_logits_that_are_called_scores_are_refused(wrap):
    model = models.onnx_model(names=("features", "scores"))
    del model.graph.node[1]
    model.graph.node[0].output[0] = "scores"
    with pytest.raises(ProjectError, match="these are logits; put a softmax"):
        wrap(model.SerializeToString(), models.contract(), name="model.onnx")


def test_a_model_that_answers_differently_each_time_is_refused(wrap):
    model = models.onnx_model(batch=1)
    noise = onnx.helper.make_node("RandomNormal", [], ["noise"], shape=[1, models.CLASSES], name="noise")
    add = onnx.helper.make_node("Add", ["logits", "noise"], ["noisy"], name="add")
    gemm, softmax = model.graph.node
    softmax.input[0] = "noisy"
    nodes = [noise, gemm, add, softmax]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ProjectError, match="another answer for the first item"):
        wrap(model.SerializeToString(), models.contract(), name="model.onnx")


def test_a_model_whose_items_meddle_with_each_other_is_not_shipped(wrap):
    """The softmax runs over the batch; alone, every item would get a score of one for every class."""
    model = models.onnx_model()
    model.graph.node[1].attribute[0].i = 0
    report = wrap(model.SerializeToString(), models.contract(), name="model.onnx")
    assert "'scores' of an item depends on the others in its batch" in report.variants[0].reason
    assert not report.bundle.exists()
    model = models.onnx_model(batch=1)
    model.graph.node[1].attribute[0].i = 0
    assert wrap(model.SerializeToString(), models.contract(), name="model.onnx").ok


def test_a_batch_that_is_open_by_mistake_is_refused(wrap):
    """The result is cut to one item, in a way that nothing but running shows."""
    model = models.onnx_model()
    constants = {"huge": np.float32(1e9), "target": np.array([1, models.CLASSES], np.int64)}
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    model.graph.node[1].output[0] = "inner"
    make = onnx.helper.make_node
    model.graph.node.extend(
        [
            make("ReduceMax", ["features"], ["largest"], keepdims=0),
            make("Less", ["largest", "huge"], ["always"]),
            make("Cast", ["always"], ["one"], to=onnx.TensorProto.INT64),
            make("Mul", ["one", "target"], ["shape"]),
            make("Reshape", ["inner", "shape"], ["scores"]),
        ]
    )
    with pytest.raises(ProjectError, match="open and fails on a batch of 4 items"):
        wrap(model.SerializeToString(), models.contract(), name="model.onnx")


def test_an_output_that_is_not_finite_is_refused(wrap):
    model = models.onnx_model()
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "bias"))
    with pytest.raises(ProjectError, match="'scores': it gives NaN or infinity for item 0"):
        wrap(model.SerializeToString(), models.contract(), name="model.onnx", items=models.items())


class Feeds(CalibrationDataReader):
    """Training items for ONNX Runtime's quantizer."""

    def __init__(self):
        self.left = [{"features": item[None]} for item in models.items(64, seed=9)[0]]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture(scope="module")
def quantized_onnx(tmp_path_factory):
    """A model as ONNX Runtime's own quantizer writes it."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "float.onnx").write_bytes(models.onnx_file(batch=1))

    def make(**named):
        out = folder / "quantized.onnx"
        with quiet():
            if named:
                quantize_static(folder / "float.onnx", out, Feeds(), **named)
            else:
                quantize_dynamic(folder / "float.onnx", out)
        return out.read_bytes()

    return make


SEVEN_BITS = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": True}


@pytest.mark.parametrize(
    ("variant_id", "named"),
    [
        pytest.param("onnx-int8", SEVEN_BITS, id="qdq"),
        pytest.param(
            "onnx-int8",
            SEVEN_BITS | {"quant_format": QuantFormat.QOperator},
            id="qoperator",
            marks=pytest.mark.long,  # each takes five seconds of emulation
        ),
        pytest.param("onnx-int8-dynamic", {}, id="dynamic", marks=pytest.mark.long),
    ],
)
def test_onnx_runtimes_own_quantizer(wrap, quantized_onnx, variant_id, named):
    report = wrap(quantized_onnx(**named), models.contract(), name="model.onnx", items=models.items())
    (variant,) = report.variants
    assert report.ok, variant.reason
    assert variant.id == variant_id
    # Weights of 8 bits, and a bias of 32 where activations are integers too.
    assert variant.inventory.weight_bytes in (models.WEIGHTS.size + 12, models.WEIGHTS.nbytes + 12)
    assert variant.without_vnni.checked is (emulator() is not None)
    with Model.load(report.bundle) as model:
        assert model.self_test().passed


@pytest.mark.skipif(emulator() is None, reason="needs qemu-x86_64 7.2 or newer")
def test_weights_of_8_bits_that_saturate_without_vnni_are_not_shipped(wrap, tmp_path):
    """Two products of 255 by 127 leave int16: the one row sums 128 of them, and half of that is lost."""
    wide = 128
    learned = np.zeros((models.CLASSES, wide), np.float32)
    learned[0], learned[1] = 0.01, -0.01
    model = models.onnx_model(features=wide)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(learned, "weights"))
    (tmp_path / "float.onnx").write_bytes(model.SerializeToString())
    feeds = Feeds()
    rng = np.random.default_rng(0)
    feeds.left = [{"features": rng.uniform(0, 4, (1, wide)).astype(np.float32)} for _ in range(16)]
    with quiet():
        quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", feeds, activation_type=QuantType.QUInt8)
    contract = models.contract(shape=(wide,), span=(0.0, 4.0))
    report = wrap((tmp_path / "q.onnx").read_bytes(), contract, name="model.onnx")
    assert not report.ok
    assert "reduce_range=True" in report.variants[0].reason
    assert not report.bundle.exists()
