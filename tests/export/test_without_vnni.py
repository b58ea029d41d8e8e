"""Running on an emulated x86 without VNNI: that its arithmetic is another one, and whatever can go wrong on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_export.without_vnni import emulator, run_without_vnni
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import BackendFailedError, BackendMissingError, InputError

needs_emulator = pytest.mark.skipif(emulator() is None, reason="no qemu-x86_64 7.2 or newer on Linux x86-64")

ROWS, COLUMNS = 144, 32
STEP = ROWS / 255


def quantized_matmul(bits):
    """A model of one matmul, u8 by s8 with one scale per column, as quantizers write it; and its exact answer.

    Pairs of products reach 2 · 255 · 127 = 64770 with 8-bit weights and 2 · 255 · 63 = 32130 with 7-bit ones; int16
    ends at 32767.
    """
    largest = 2 ** (bits - 1) - 1
    weights = np.random.default_rng(0).choice([-largest, largest, largest, largest], (ROWS, COLUMNS)).astype(np.int8)
    constants = {
        "input_scale": np.float32(1 / 255),
        "input_zero": np.uint8(0),
        "weights": weights,
        "weight_scales": np.full(COLUMNS, 1 / largest, np.float32),
        "weight_zeros": np.zeros(COLUMNS, np.int8),
        "output_scale": np.float32(STEP),
        "output_zero": np.uint8(0),
    }
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "input_scale", "input_zero"], ["x_u8"]),
        node("DequantizeLinear", ["x_u8", "input_scale", "input_zero"], ["x_float"]),
        node("DequantizeLinear", ["weights", "weight_scales", "weight_zeros"], ["weights_float"], axis=1),
        node("MatMul", ["x_float", "weights_float"], ["product"]),
        node("QuantizeLinear", ["product", "output_scale", "output_zero"], ["product_u8"]),
        node("DequantizeLinear", ["product_u8", "output_scale", "output_zero"], ["y"]),
    ]
    content = model(nodes, {"x": [1, ROWS]}, {"y": [1, COLUMNS]}, constants)

    def exact(x):
        product = np.rint(x * 255) / 255 @ (weights / largest)
        return np.clip(np.rint(product / STEP), 0, 255) * STEP

    return content, exact


def model(nodes, inputs, outputs, constants=None):
    def declare(tensors):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", declare(inputs), declare(outputs), initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def hostile_items():
    """All zero, full scale, single impulse, alternating extremes, noise: float32[5, ROWS] in [0, 1]."""
    items = np.zeros((5, ROWS), np.float32)
    items[1] = 1
    items[2, 7] = 1
    items[3, ::2] = 1
    items[4] = np.random.default_rng(1).random(ROWS)
    return items


@needs_emulator
def test_eight_bit_weights_saturate_there_and_seven_bit_weights_do_not():
    items = hostile_items()
    wrong = {}
    for bits in (7, 8):
        content, exact = quantized_matmul(bits)
        found = run_without_vnni(content, {"x": items}, ["y"])["y"]
        wrong[bits] = np.abs(found - exact(items)) / STEP
    assert wrong[7].max() < 1.01
    assert (wrong[8][0] < 1.01).all()
    assert wrong[8][1].min() > 20
    assert wrong[8].max() > 60


@needs_emulator
def test_tensors_go_by_name_and_floats_are_the_same():
    nodes = [
        helper.make_node("Softmax", ["left"], ["soft"], axis=-1),
        helper.make_node("Sub", ["left", "right"], ["less"]),
    ]
    content = model(nodes, {"left": [1, 3], "right": [1, 3]}, {"soft": [1, 3], "less": [1, 3]})
    left, right = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    found = run_without_vnni(content, {"right": right, "left": left}, ["less", "soft"])
    assert list(found) == ["less", "soft"]
    np.testing.assert_array_equal(found["less"], left - right)
    with_vnni = load_backend("onnxruntime").create(
        content, input_names=["left", "right"], output_names=["soft"], threads=1
    )
    native = [with_vnni.run([left[i : i + 1], right[i : i + 1]])[0][0] for i in range(4)]
    np.testing.assert_allclose(found["soft"], native, rtol=1e-6)


IDENTITY = model([helper.make_node("Neg", ["x"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]})


@needs_emulator
@pytest.mark.parametrize(
    ("content", "shape", "output", "message"),
    [
        (b"garbage", (1, 3), "y", r"on an emulated Haswell: BackendFailedError: onnxruntime .* cannot load the model"),
        (IDENTITY, (1, 3), "z", "has no output 'z'; its outputs are 'y'"),
        (IDENTITY, (1, 4), "y", "failed while running the model"),
    ],
    ids=["broken file", "unknown output", "wrong shape"],
)
def test_what_fails_there_is_told(content, shape, output, message):
    with pytest.raises(BackendFailedError, match=message):
        run_without_vnni(content, {"x": np.zeros(shape, np.float32)}, [output])


@pytest.mark.parametrize("feeds", [{}, {"x": np.zeros((0, 3))}, {"x": np.zeros((1, 3)), "y": np.zeros((2, 3))}])
def test_items_that_do_not_go_together(feeds):
    with pytest.raises(InputError, match="expected the same number of items for every input, at least one, found"):
        run_without_vnni(IDENTITY, feeds, ["y"])


@needs_emulator
def test_no_answer_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BackendFailedError, match=r"within 0\.2 s, the process was killed; hand in fewer items"):
        run_without_vnni(IDENTITY, {"x": np.zeros((1, 3), np.float32)}, ["y"], limit_s=0.2)
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


LONG_RUN = """
import os
import sys
import numpy as np
from edgeml_export.without_vnni import run_without_vnni
try:
    run_without_vnni(open(sys.argv[1], "rb").read(), {"x": np.zeros((1_000_000, 3), np.float32)}, ["y"])
except KeyboardInterrupt:
    try:
        print("a child runs on:", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("interrupted, and no child is left")
"""


@needs_emulator
def test_ctrl_c_ends_the_emulator_and_leaves_nothing(tmp_path):
    (tmp_path / "model.onnx").write_bytes(IDENTITY)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_RUN, tmp_path / "model.onnx"],
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: running_in(scratch))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted, and no child is left\n"
    assert list(scratch.iterdir()) == []


def running_in(folder):
    """Processes that were given a file in a folder, by their command lines."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return [line for line in lines if str(folder).encode() in line and b"qemu" in line]


def wait_until(condition, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_without_an_emulator(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert emulator() is None
    with pytest.raises(BackendMissingError, match="found none: apt-get install qemu-user"):
        run_without_vnni(IDENTITY, {"x": np.zeros((1, 3), np.float32)}, ["y"])


@pytest.mark.parametrize(
    ("says", "fits"),
    [
        ("qemu-x86_64 version 5.2.0 (Debian 1:5.2)", False),
        ("qemu-x86_64 version 7.2.22 (Debian)", True),
        ("qemu-x86_64 version 10.0.2", True),
        ("hello", False),
    ],
)
@pytest.mark.parametrize("name", ["qemu-x86_64", "qemu-x86_64-static"])
@pytest.mark.skipif(sys.platform != "linux", reason="the emulator runs on Linux only")
def test_an_emulator_must_know_avx2(tmp_path, monkeypatch, name, says, fits):
    script = tmp_path / name
    script.write_text(f"#!/bin/sh\necho '{says}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert emulator() == (script if fits else None)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert emulator() is None
