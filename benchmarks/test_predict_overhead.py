"""What ``Model.predict`` costs over the raw call of the backend, every check and ``result.label`` included.

``python -m pytest benchmarks/test_predict_overhead.py`` measures one-node models; ``--bundle PATH`` adds the variants
of a real bundle. Both calls are timed in turns, in shuffled order, within one process. The low decile of many rounds
stands for the undisturbed machine; medians are printed beside it.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pytest

from edgeml_runtime import Bundle, Model
from edgeml_runtime.golden import read_golden

ROUNDS = 200
ROUND_SECONDS = 0.002
VARIANTS = ("onnx-fp32", "tflite-fp32")
BARS_US = {"float32": 6.0, "int16 of full range": 3.0}
SHARE_OF_P50 = 0.02


def raw_onnxruntime(content, variant, item, outputs):
    """The call an application would write for ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [variant.outputs[name] for name in outputs]
    feeds = {variant.inputs[name]: array[np.newaxis] for name, array in item.items()}

    def call():
        return session.run(names, feeds)

    return call


def raw_litert(content, variant, item, outputs):
    """The call an application would write for LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    inputs = runner.get_input_details()
    results = runner.get_output_details()
    feeds = [(inputs[variant.inputs[name]]["index"], array[np.newaxis]) for name, array in item.items()]
    indices = [results[variant.outputs[name]]["index"] for name in outputs]

    def call():
        for index, array in feeds:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in indices]

    return call


RAW = {"onnxruntime": raw_onnxruntime, "litert": raw_litert}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two ways to the same prediction."""

    raw: object
    predict: object


def make_pair(path, variant_id, item):
    with Bundle.open(path) as bundle:
        variant = next(v for v in bundle.manifest.variants if v.id == variant_id)
        content = bundle.read(variant.file)
        outputs = [spec.name for spec in bundle.manifest.outputs]
    raw = RAW[variant.backend](content, variant, item, outputs)
    model = Model.load(path, variant=variant_id)
    argument = next(iter(item.values())) if len(item) == 1 else item

    def predict():
        return model.predict(argument).label

    first = model.predict(argument).outputs
    for name, array in zip(outputs, raw(), strict=True):
        np.testing.assert_array_equal(first[name], array[0])
    return Pair(raw=raw, predict=predict)


def time_in_turns(pair):
    """Mean time of a call in µs, per round, for both."""
    calls = {"raw": pair.raw, "predict": pair.predict}
    times = {name: [] for name in calls}
    numbers = {name: calls_per_round(call) for name, call in calls.items()}
    order = random.Random(0)
    for _ in range(ROUNDS):
        for name in order.sample(list(calls), len(calls)):
            times[name].append(time_calls(calls[name], numbers[name]))
    return times


def time_calls(call, number):
    begun = time.perf_counter_ns()
    for _ in range(number):
        call()
    return (time.perf_counter_ns() - begun) / number / 1e3


def calls_per_round(call):
    time_calls(call, 20)
    return max(1, int(ROUND_SECONDS * 1e6 / time_calls(call, 20)))


def low(values):
    return float(np.quantile(values, 0.1))


def report(name, times):
    raw, predict = low(times["raw"]), low(times["predict"])
    medians = {key: statistics.median(values) for key, values in times.items()}
    return (
        f"{name:38} raw {raw:9.2f} µs  predict {predict:9.2f} µs  over {predict - raw:6.2f} µs = "
        f"{(predict - raw) / raw:7.2%}  (medians {medians['raw']:.2f} and {medians['predict']:.2f})"
    )


def one_node_item(name):
    rng = np.random.default_rng(0)
    if name == "float32":
        return {"x": rng.uniform(-10, 10, 16).astype(np.float32)}
    return {"x": rng.integers(-32768, 32767, 16, endpoint=True).astype(np.int16)}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BARS_US)
def test_one_node_overhead(one_node, show, name, variant):
    times = time_in_turns(make_pair(one_node[name], variant, one_node_item(name)))
    show("\n" + report(f"one node, {name}, {variant}", times))
    assert low(times["predict"]) - low(times["raw"]) <= BARS_US[name]


def test_given_bundles_overhead(given_bundles, show):
    """The bar holds for the larger variants, those in fp32; the others are shown."""
    missed = []
    for path in given_bundles:
        with Bundle.open(path) as bundle:
            item = dict(read_golden(bundle).cases[0].inputs)
            variants = [variant.id for variant in bundle.manifest.variants]
        for variant in variants:
            times = time_in_turns(make_pair(path, variant, item))
            show("\n" + report(f"{path.stem}, {variant}", times))
            share = (low(times["predict"]) - low(times["raw"])) / low(times["raw"])
            if variant.endswith("-fp32") and share > SHARE_OF_P50:
                missed.append(f"{path.stem}, {variant}: {share:.2%}")
    assert missed == []


@pytest.mark.parametrize("way", ["raw", "predict"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BARS_US)
def test_call(benchmark, one_node, name, variant, way):
    benchmark.group = f"one node, {name}, {variant}"
    benchmark(getattr(make_pair(one_node[name], variant, one_node_item(name)), way))
