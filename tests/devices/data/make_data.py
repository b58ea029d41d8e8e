"""Writes the files beside it: ``python tests/devices/data/make_data.py ONNX_INT8_FILE``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import litert_torch
import numpy as np
import onnxruntime
import torch
from torch import nn

HERE = Path(__file__).parent


def write_model():
    """A convolution and a product of a matrix, in a TFLite file."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)
    converted = litert_torch.convert(nn.Sequential(*layers).eval(), (torch.zeros(1, 3, 32, 32),))
    converted.export(str(HERE / "conv-linear.tflite"))


def write_trace(model):
    """Three runs of the variant ``onnx-int8`` of the handwritten digits, as ONNX Runtime's profiler writes them."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/trace"
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(3):
            session.run(None, {"image": np.zeros((1, 8, 8, 1), np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    lines = ",\n".join(json.dumps(event) for event in events)
    (HERE / "onnxruntime-1.32-trace.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write_model()
    write_trace(sys.argv[1])
