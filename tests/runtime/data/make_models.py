"""Make the tiny model files in ``models/``.

Run in the environment of the toolkit: ``python tests/runtime/data/make_models.py``. The tests of the runtime only read
the files, because they also run where neither torch nor onnx is installed.
"""

from __future__ import annotations

from pathlib import Path

import litert_torch
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

MODELS = Path(__file__).parent / "models"

# One row per class, so that the index that is looked up decides the result.
TABLE = np.eye(4, dtype=np.float32)


class Scores(nn.Module):
    """float32[1, 16] → its softmax; one node."""

    def forward(self, features):
        return {"probabilities": torch.softmax(features, dim=-1)}


class Widen(nn.Module):
    """int16[1, 16] → the same as float32; one node."""

    def forward(self, samples):
        return {"wide": samples.to(torch.float32)}


class Two(nn.Module):
    """float32[1, 4] and int32[1, 2] → the doubled first plus the second's sum, and the first's softmax."""

    def forward(self, left, right):
        total = right.sum(dim=-1, keepdim=True).to(torch.float32)
        return {"total": left * 2 + total, "probabilities": torch.softmax(left, dim=-1)}


class Lookup(nn.Module):
    """int32[1, 1] → float32[1, 4], a row of a table with 4 rows; fails for any other index."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.from_numpy(TABLE))

    def forward(self, row):
        return {"probabilities": torch.index_select(self.table, 0, row.reshape(1))}


class Pixels(nn.Module):
    """uint8[1, 4, 4, 1] → the softmax of its 4 row sums divided by 255."""

    def forward(self, pixels):
        rows = pixels.to(torch.float32).reshape(1, 4, 4).sum(dim=-1) / 255
        return {"probabilities": torch.softmax(rows, dim=-1)}


class Signed(nn.Module):
    """int8[1, 4, 4, 1], pixels less 128 → what Pixels gives for the pixels."""

    def forward(self, pixels):
        rows = (pixels.to(torch.float32) + 128).reshape(1, 4, 4).sum(dim=-1) / 255
        return {"probabilities": torch.softmax(rows, dim=-1)}


class Mixed(nn.Module):
    """int8[1, 4] and int32[1, 4] → their sum and the first alone, as float32; the first is a uint8 less 128."""

    def forward(self, left, right):
        left = left.to(torch.float32) + 128
        return {"total": left + right.to(torch.float32), "same": left * 1}


def tensor(name, dtype, *shape):
    return helper.make_tensor_value_info(name, dtype, list(shape))


def save_onnx(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="")
    onnx.checker.check_model(model)
    (MODELS / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def make_onnx():
    f32, i32 = TensorProto.FLOAT, TensorProto.INT32
    node = helper.make_node
    save_onnx(
        "scores",
        [node("Softmax", ["features"], ["probabilities"], axis=-1)],
        [tensor("features", f32, 1, 16)],
        [tensor("probabilities", f32, 1, 16)],
    )
    save_onnx(
        "widen",
        [node("Cast", ["samples"], ["wide"], to=f32)],
        [tensor("samples", TensorProto.INT16, 1, 16)],
        [tensor("wide", f32, 1, 16)],
    )
    for name, batch in (("batch", "n"), ("half_open", 1)):
        save_onnx(
            name,
            [node("Softmax", ["features"], ["probabilities"], axis=-1)],
            [tensor("features", f32, "n", 16)],
            [tensor("probabilities", f32, batch, 16)],
        )
    save_onnx(
        "first_only",
        [node("Compress", ["features", "which"], ["probabilities"], axis=0)],
        [tensor("features", f32, "n", 16)],
        [tensor("probabilities", f32, "m", 16)],
        [numpy_helper.from_array(np.array([True]), "which")],
    )
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    save_onnx(
        "product",
        [node("MatMul", ["features", "weights"], ["sums"])],
        [tensor("features", f32, 1, 64)],
        [tensor("sums", f32, 1, 64)],
        [numpy_helper.from_array(weights, "weights")],
    )
    save_onnx(
        "long",
        [node("Add", ["count", "one"], ["next"])],
        [tensor("count", TensorProto.INT64, 1, 2)],
        [tensor("next", TensorProto.INT64, 1, 2)],
        [numpy_helper.from_array(np.array([1], dtype=np.int64), "one")],
    )
    save_onnx("echo", [], [tensor("x", f32, 1, 16)], [tensor("x", f32, 1, 16)])
    save_onnx(
        "two",
        [
            node("ReduceSum", ["right", "axes"], ["sum"], keepdims=1),
            node("Cast", ["sum"], ["sum_f32"], to=f32),
            node("Add", ["left", "left"], ["doubled"]),
            node("Add", ["doubled", "sum_f32"], ["total"]),
            node("Softmax", ["left"], ["probabilities"], axis=-1),
        ],
        [tensor("left", f32, 1, 4), tensor("right", i32, 1, 2)],
        [tensor("total", f32, 1, 4), tensor("probabilities", f32, 1, 4)],
        [numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")],
    )
    save_onnx(
        "lookup",
        [
            node("Reshape", ["row", "flat"], ["index"]),
            node("Gather", ["table", "index"], ["probabilities"], axis=0),
        ],
        [tensor("row", i32, 1, 1)],
        [tensor("probabilities", f32, 1, 4)],
        [
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "flat"),
        ],
    )
    save_onnx(
        "pixels",
        [
            node("Cast", ["pixels"], ["float"], to=f32),
            node("ReduceSum", ["float", "axes"], ["rows"], keepdims=0),
            node("Div", ["rows", "white"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        [tensor("pixels", TensorProto.UINT8, 1, 4, 4, 1)],
        [tensor("probabilities", f32, 1, 4)],
        [
            numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"),
            numpy_helper.from_array(np.array(255, dtype=np.float32), "white"),
        ],
    )


def make_ort():
    """As ONNX Runtime saves it from a session of its own; the older tool's ``Fixed`` style loses optimizations."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(MODELS / "scores.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(MODELS / "scores.onnx", options, providers=["CPUExecutionProvider"])


def make_tflite():
    examples = {
        "scores": (Scores(), {"features": torch.zeros(1, 16)}),
        "widen": (Widen(), {"samples": torch.zeros(1, 16, dtype=torch.int16)}),
        "two": (Two(), {"left": torch.zeros(1, 4), "right": torch.zeros(1, 2, dtype=torch.int32)}),
        "lookup": (Lookup(), {"row": torch.zeros(1, 1, dtype=torch.int32)}),
        "pixels": (Pixels(), {"pixels": torch.zeros(1, 4, 4, 1, dtype=torch.uint8)}),
        "signed": (Signed(), {"pixels": torch.zeros(1, 4, 4, 1, dtype=torch.int8)}),
        "mixed": (
            Mixed(),
            {"left": torch.zeros(1, 4, dtype=torch.int8), "right": torch.zeros(1, 4, dtype=torch.int32)},
        ),
    }
    for name, (module, inputs) in examples.items():
        litert_torch.convert(module.eval(), sample_kwargs=inputs).export(str(MODELS / f"{name}.tflite"))


if __name__ == "__main__":
    MODELS.mkdir(exist_ok=True)
    make_onnx()
    make_ort()
    make_tflite()
