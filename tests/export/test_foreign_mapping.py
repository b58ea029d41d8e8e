"""Which tensor of a foreign file is which of the contract, and what is said where none fits."""

from __future__ import annotations

import pytest

from edgeml_export.foreign.facts import ForeignTensor, Quantization
from edgeml_export.foreign.file import ForeignKind
from edgeml_export.foreign.mapping import map_tensors
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_runtime.manifest import InputEncoding

SCORES = {"name": "scores", "role": "scores", "shape": [3], "labels": ["a", "b", "c"]}
LOGITS = {"name": "logits", "role": "logits", "shape": [3]}


def contract(*inputs, outputs=(SCORES,)):
    table = {
        "model": {"name": "mapped", "version": "1.0.0"},
        "inputs": [
            {"name": name, "dtype": dtype, "shape": shape, "range": [0, 100], "unit": "1", "source": "sensor"}
            for name, dtype, shape in inputs
        ],
        "outputs": list(outputs),
        "target": {"name": "class", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
    }
    return parse_contract(table, source="test")


def tensor(name, dtype="float32", shape=(1, 3), **named):
    return ForeignTensor(name=name, dtype=dtype, shape=shape, **named)


def mapped(contract_, inputs, outputs=None, kind=ForeignKind.ONNX):
    return map_tensors(contract_, inputs, outputs or [tensor("scores")], kind)


PAIR = contract(("left", "float32", [8]), ("right", "float32", [8]))


@pytest.mark.parametrize(
    ("file", "left", "right"),
    [
        (("left", "right"), "left", "right"),
        (("right", "left"), "left", "right"),
        (("x", "y"), "x", "y"),
        (("right", "x"), "x", "right"),
    ],
)
def test_by_name_then_by_position(file, left, right):
    found = mapped(PAIR, [tensor(name, shape=(1, 8)) for name in file])
    assert (found.inputs["left"].name, found.inputs["right"].name) == (left, right)
    assert len(found.notes) == len({left, right} - {"left", "right"})


def test_outputs_that_nobody_asked_for_are_left_alone():
    found = mapped(contract(("x", "float32", [8])), [tensor("x", shape=(1, 8))], [tensor("hidden"), tensor("scores")])
    assert found.outputs == {"scores": tensor("scores")}


@pytest.mark.parametrize("batch", [1, "batch", "?"])
def test_a_batch_of_one_or_an_open_one(batch):
    mapped(contract(("x", "float32", [8])), [tensor("x", shape=(batch, 8))], [tensor("scores", shape=(batch, 3))])


ONE = contract(("x", "float32", [8]))
BYTES = contract(("x", "uint8", [8]))
INT8 = Quantization(scale=0.1, zero_point=-128)


@pytest.mark.parametrize(
    ("contract_", "inputs", "outputs", "says"),
    [
        (ONE, [("x", "float32", (1, 9))], None, r"shape \[1, 8\] with the batch dimension, found 'x' float32\[1, 9\]"),
        (ONE, [("x", "float32", (8,))], None, r"shape \[1, 8\] with the batch dimension, found"),
        (ONE, [("x", "float32", (4, 8))], None, "a batch of one or an open one, found a batch of 4"),
        (
            ONE,
            [("x", "float32", (1, "width"))],
            None,
            r"dimension 1 \('width'\) of 'x' left open; .*make_dynamic_shape",
        ),
        (ONE, [("x", "float32", (1, "?"))], None, "dimension 1 of 'x' left open"),
        (ONE, [("x", "int8", (1, 8))], None, "expected float32, found 'x' int8.*state dtype = 'int8'"),
        (ONE, [("x", "float16", (1, 8))], None, "keep_io_types"),
        (ONE, [("x", "bool", (1, 8))], None, "a contract knows uint8, int8"),
        (ONE, [("x", "float32", (1, 8)), ("y", "float32", (1,))], None, "expected 1 inputs, found 2"),
        (PAIR, [("x", "float32", (1, 8))], None, "expected 2 inputs, found 1"),
        (BYTES, [("x", "int8", (1, 8))], None, "found no scale"),
        (ONE, [("x", "float32", (1, 8))], [("y", "int8", (1, 3))], "ONNX does not say what its integers mean"),
        (ONE, [("x", "float32", (1, 8))], [("y", "float16", (1, 3))], "convert the model with float32 outputs"),
        (ONE, [("x", "float32", (1, 8))], [("y", "float32", (1, 3)), ("z", "float32", (1, 3))], "1 outputs, found 2"),
    ],
)
def test_what_does_not_fit_is_said_with_both_sides(contract_, inputs, outputs, says):
    given = [tensor(*each) for each in outputs] if outputs else None
    with pytest.raises(ProjectError, match=says) as caught:
        mapped(contract_, [tensor(*each) for each in inputs], given)
    assert "edgeml.toml:\n    '" in str(caught.value)
    assert "the file:\n    '" in str(caught.value)


def test_channels_first_are_pointed_out():
    with pytest.raises(ProjectError, match="its channels come first"):
        mapped(contract(("x", "float32", [32, 24, 3])), [tensor("x", shape=(1, 3, 32, 24))])


@pytest.mark.parametrize(("zero_point", "fits"), [(-128, True), (-1, True), (0, True), (12, False)])
def test_pixels_over_int8_need_a_zero_point_that_means_pixels(zero_point, fits):
    given = [tensor("x", "int8", (1, 8), quantization=Quantization(scale=0.1, zero_point=zero_point))]
    if fits:
        assert mapped(BYTES, given, kind=ForeignKind.TFLITE).encodings == {"x": InputEncoding.OFFSET_BINARY}
        return
    with pytest.raises(ProjectError, match="zero point 12"):
        mapped(BYTES, given, kind=ForeignKind.TFLITE)


def test_integers_with_a_scale_can_become_scores():
    outputs = [tensor("y", "int8", quantization=INT8)]
    found = mapped(ONE, [tensor("x", shape=(1, 8))], outputs, ForeignKind.TFLITE)
    assert found.dequantized == ("scores",)


RECONSTRUCTION = {
    "model": {"name": "autoencoder", "version": "1.0.0"},
    "inputs": [
        {"name": "x", "dtype": "float32", "shape": [640], "range": [-100, 100], "unit": "dB", "source": "microphone"}
    ],
    "outputs": [{"name": "y", "role": "value", "shape": [1], "unit": "dB"}],
    "target": {"name": "error", "kind": "regression"},
    "metric": {"primary": "mae", "floor": 1.0},
}


def test_a_contract_has_no_place_for_a_reconstruction():
    """What it has is one number: the error of the reconstruction, which the model itself has to compute."""
    with pytest.raises(ContractError, match="Which of the numbers is the predicted error"):
        parse_contract(
            RECONSTRUCTION | {"outputs": [{"name": "y", "role": "value", "shape": [640], "unit": "dB"}]}, source="test"
        )
    one = parse_contract(RECONSTRUCTION, source="test")
    with pytest.raises(ProjectError, match="let the model itself compute it, such as the error of a reconstruction"):
        mapped(one, [tensor("x", shape=(1, 640))], [tensor("Identity", shape=(1, 640))])
