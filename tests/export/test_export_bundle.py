"""The whole export: what lies in the bundle, and that it is what was evaluated."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgeml_runtime import Model
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.golden import read_golden
from edgeml_runtime.histograms import read_histograms

VARIANTS = ["tflite-int8", "onnx-int8", "tflite-fp32", "onnx-fp32"]
INT8 = ["tflite-int8", "onnx-int8"]
FP32 = ["tflite-fp32", "onnx-fp32"]


def report_of(exported, variant_id):
    return next(variant for variant in exported.report.variants if variant.id == variant_id)


def test_everything_is_shipped_in_the_order_of_the_contract(exported):
    assert exported.report.ok
    assert [variant.id for variant in exported.report.variants] == VARIANTS
    assert [variant.reason for variant in exported.report.variants] == [None] * 4
    with Bundle.open(exported.out) as bundle:
        bundle.verify()
        assert [variant.id for variant in bundle.manifest.variants] == VARIANTS
    assert exported.report.bundle == exported.out
    assert exported.report.bundle_bytes == exported.out.stat().st_size
    assert sorted(path.name for path in exported.out.parent.iterdir()) == [exported.out.name]


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_manifest_states_what_the_shipped_bytes_do(exported, items, variant_id):
    with Model.load(exported.out, variant=variant_id) as model:
        assert model.self_test().passed
        results = [model.predict(waveform) for waveform in items.test.inputs["waveform"]]
        metrics = model.variant.metrics
    logits = np.stack([result.outputs["logits"] for result in results])
    right = logits.argmax(axis=1) == items.test.targets
    assert metrics["metric"]["value"] == pytest.approx(right.mean())
    assert metrics["metric"]["value"] > 0.9
    left = items.test.attributes["side"] == "left"
    slices = {part["name"]: part for part in metrics["slices"]}
    assert slices["side=left"]["value"] == pytest.approx(right[left].mean())
    assert len(slices) == 2 + 4
    eager = exported.model.eval()(torch.from_numpy(items.test.inputs["waveform"]))["logits"].detach().numpy()
    exported.model.train()
    assert report_of(exported, variant_id).parity_max_abs == pytest.approx(np.abs(eager - logits).max(), abs=1e-5)


@pytest.mark.parametrize("variant_id", FP32)
def test_fp32_is_pytorch(exported, variant_id):
    parity = report_of(exported, variant_id).parity
    assert parity.max_abs_of_std <= 1e-4
    assert parity.argmax_agreement == 1.0


@pytest.mark.parametrize("variant_id", INT8)
def test_int8_is_another_representation(exported, variant_id):
    """Were it float in disguise, it would be as close as fp32."""
    assert 1e-3 < report_of(exported, variant_id).parity.max_abs_of_std < 0.5


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_operators_are_counted(exported, variant_id):
    """Two convolutions and a linear layer in the network, one matrix product in the float scope."""
    counted = report_of(exported, variant_id).inventory.operators
    quantized = variant_id in INT8
    assert (counted.int8, counted.float_inside, counted.float_outside) == ((3, 1, 0) if quantized else (0, 1, 3))


def test_shipped_onnx_int8_reads_integers_before_every_product(exported):
    """Independently of the report: each product outside the front end has dequantized operands only."""
    with Bundle.open(exported.out) as bundle:
        graph = onnx.load_from_string(bundle.read("variants/onnx-int8.onnx")).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    integer = [node for node in products if all(made_by.get(name) == "DequantizeLinear" for name in node.input)]
    assert sorted(node.op_type for node in integer) == ["Conv", "Conv", "Gemm"]
    assert [node.op_type for node in products if node not in integer] == ["MatMul"]
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert max(np.abs(array).max() for array in weights if array.dtype == np.int8) <= 64, "7 bits are safe without VNNI"


def test_shipped_tflite_int8_has_integer_tensors(exported):
    from ai_edge_litert.interpreter import Interpreter

    with Bundle.open(exported.out) as bundle:
        content = bundle.read("variants/tflite-int8.tflite")
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    dtypes = {}
    for operator in interpreter._get_ops_details():
        tensors = [interpreter._get_tensor_details(index, 0) for index in operator["outputs"]]
        dtypes.setdefault(operator["op_name"], set()).update(tensor["dtype"].__name__ for tensor in tensors)
    assert dtypes["CONV_2D"] | dtypes.get("DEPTHWISE_CONV_2D", set()) == {"int8"}
    assert dtypes["LOG"] == {"float32"}
    assert dtypes["SOFTMAX"] == {"float32"}
    assert {detail["dtype"] for detail in interpreter.get_output_details()} == {np.float32}


def test_weight_bytes_are_those_of_the_network(exported):
    """8·9 and 32·8·9 kernel weights, 128 of the linear layer, 8 + 32 + 4 biases; basis and mean in the front end."""
    weights, biases, front_end = 8 * 9 + 32 * 8 * 9 + 128, 44, 4 * (16 * 16 + 16)
    for variant_id in VARIANTS:
        inventory = report_of(exported, variant_id).inventory
        own = inventory.weight_bytes - inventory.front_end_bytes
        assert own == weights * (1 if variant_id in INT8 else 4) + biases * 4, variant_id
        # Beside them, a few scalars such as the floor of the logarithm, once or broadcast.
        assert front_end < inventory.front_end_bytes <= front_end + 64, variant_id


def test_golden_vectors_cover_every_class_and_an_encoded_file(exported, items):
    with Bundle.open(exported.out) as bundle:
        golden = read_golden(bundle)
        file = next(case for case in golden.cases if case.file)
        content = bundle.read(f"golden/files/{file.file}")
    assert len(golden.cases) >= 8
    waveforms = items.test.inputs["waveform"]
    found = [np.flatnonzero((waveforms == case.inputs["waveform"]).all(axis=1))[0] for case in golden.cases]
    assert set(items.test.targets[found]) == set(range(4))
    assert file.file_input == "waveform"
    assert content[:4] == b"RIFF"
    with Model.load(exported.out) as model:
        from edgeml_runtime.loaders import load_tensor

        assert np.array_equal(load_tensor(model.manifest.inputs[0], content), file.inputs["waveform"])


def test_histograms_are_of_the_test_set(exported, items):
    with Bundle.open(exported.out) as bundle:
        (level,) = read_histograms(bundle)
    waveforms = items.test.inputs["waveform"].astype(np.float64)
    rms = np.sqrt((waveforms**2).mean(axis=1))
    assert level.name == "level"
    bounds = [0, 10, 100, 1000, 10000, np.inf]
    assert list(level.counts) == [int(((rms > a) & (rms <= b)).sum()) for a, b in itertools.pairwise(bounds)]


def test_card_has_a_row_per_variant(exported):
    with Bundle.open(exported.out) as bundle:
        card = bundle.read("card.md").decode()
    assert card.startswith("# tiny\n")
    assert [line.split(" | ")[0] for line in card.splitlines() if line.startswith("| ")][1:] == [
        f"| {v}" for v in VARIANTS
    ]


def test_no_file_says_where_it_was_made(exported):
    places = {str(Path(__file__).parent), str(Path(torch.__file__).parents[1]), "tiny_model", "site-packages"}
    with Bundle.open(exported.out) as bundle:
        for member in bundle.manifest.members:
            content = bundle.read(member.name)
            assert [place for place in places if place.encode() in content] == [], member.name


def test_files_have_the_names_of_the_contract(exported):
    from edgeml_runtime.backends import load_backend

    with Bundle.open(exported.out) as bundle:
        for variant in bundle.manifest.variants:
            inputs, outputs = load_backend(variant.backend).declared(bundle.read(variant.file))
            assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in inputs] == [("waveform", "int16", (1, 256))]
            assert {tensor.name for tensor in outputs} == {"logits", "scores"}


def test_report_has_the_promised_keys(exported):
    values = exported.report.to_dict()
    assert values["bundle"] == str(exported.out)
    for variant in values["variants"]:
        assert {"id", "bytes", "weight_bytes", "metric", "parity_max_abs", "shipped"} <= variant.keys()
        assert {"name", "value"} <= variant["metric"].keys()
        assert variant["bytes"] == len(exported.converted[variant["id"]].content)


def test_progress_names_every_step(exported):
    steps = list(dict.fromkeys(event.step for event in exported.events))
    assert steps[0] == "trace"
    assert steps[-1] == "write"
    for variant_id in VARIANTS:
        assert {f"convert {variant_id}", f"score {variant_id}"} <= set(steps)
    assert {"calibrate tflite", "calibrate onnx", "score PyTorch"} <= set(steps)
    assert all(event.total is None or 0 <= event.done <= event.total for event in exported.events)


def test_the_users_model_is_not_touched(exported):
    assert exported.model.training
    after = exported.model.state_dict()
    assert after.keys() == exported.state_before.keys()
    assert all(torch.equal(after[name], value) for name, value in exported.state_before.items())
    assert all(parameter.requires_grad for parameter in exported.model.parameters())


def test_another_process_writes_the_same_bytes_and_nothing_else(exported, wav_file, tmp_path):
    """With another hash seed, and no emulator on its search path: what is checked changes nothing that is written."""
    weights, out = tmp_path / "weights.pt", tmp_path / "again" / "tiny-1.0.0.edgeml"
    out.parent.mkdir()
    torch.save(exported.model.state_dict(), weights)
    program = Path(__file__).with_name("tiny_model.py")
    environment = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, program, weights, wav_file, out],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (exported.out, out)]
    assert digests[0] == digests[1]
