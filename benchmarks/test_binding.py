"""Up to which size of the inputs ONNX Runtime on bound memory beats a plain run.

``python -m pytest benchmarks/test_binding.py``; ``edgeml_runtime.backends.onnxruntime`` binds up to 32 kB.
"""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeml_runtime.backends import onnxruntime as backend_module

ROUNDS = 60
CALLS = 100


def reduce_sum(count):
    """float32[1, count] → float32[1, 1]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def call_us(backend, feeds):
    begun = time.perf_counter_ns()
    for _ in range(CALLS):
        backend.run(feeds)
    return (time.perf_counter_ns() - begun) / CALLS / 1e3


@pytest.mark.parametrize("size_bytes", [64, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10])
def test_bound_against_plain(monkeypatch, show, size_bytes):
    x = np.random.default_rng(0).random((1, size_bytes // 4), np.float32)
    backends = {}
    for way, limit in (("plain", 0), ("bound", 1 << 30)):
        monkeypatch.setattr(backend_module, "_BOUND_BYTES", limit)
        backends[way] = backend_module.OnnxRuntimeBackend.create(
            reduce_sum(x.size), input_names=["x"], output_names=["y"], threads=1
        )
    times = {way: [] for way in backends}
    for _ in range(ROUNDS):
        for way, backend in backends.items():
            times[way].append(call_us(backend, [x]))
    plain, bound = (float(np.quantile(times[way], 0.1)) for way in ("plain", "bound"))
    show(f"\n{size_bytes:7} bytes: plain {plain:6.2f} µs, bound {bound:6.2f} µs, ratio {bound / plain:.2f}")
    if size_bytes <= 32 << 10:
        assert bound / plain < 1.0
