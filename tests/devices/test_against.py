"""Comparing two models: the ratio and its verdict, and real models one of which is slower."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_devices.against import common_variants, compare_speed, judge_ratio, ratio_figure
from edgeml_devices.intervals import Figure
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import BundleError, InputError, TargetError
from edgeml_runtime.measure.loop import Samples

VERDICTS = [
    ((0.98, 1.02), Verdict.PASS),
    ((0.50, 0.60), Verdict.PASS),
    ((1.01, 1.05), Verdict.PASS),
    ((1.02, 1.07), Verdict.INCONCLUSIVE),
    ((1.06, 1.14), Verdict.FAIL),
    ((-math.inf, math.inf), Verdict.INCONCLUSIVE),
]


@pytest.mark.parametrize(("ends", "verdict"), VERDICTS)
def test_the_interval_decides(ends, verdict):
    ratio = Figure(value=1.0, low=ends[0], high=ends[1], n=6)
    assert judge_ratio(ratio, 0.05) is verdict


def _samples(rounds):
    return Samples(rounds_ns=tuple(np.array(times, dtype=np.int64) for times in rounds), warmup_calls=0, steady=True)


def test_what_slows_both_models_cancels_out():
    """The machine is up to three times slower from round to round and from process to process."""
    rng = np.random.default_rng(0)
    processes = []
    for _ in range(8):
        moods = rng.uniform(1, 3, 7)
        rounds = [[np.full(50, 1e6 * mood * factor) for mood in moods] for factor in (1.1, 1.0)]
        processes.append((_samples(rounds[0]), _samples(rounds[1])))
    ratio = ratio_figure(processes)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert ratio_figure(processes[:5]).high == math.inf


def test_rounds_are_compared_with_the_round_beside_them():
    """Two fast rounds and two slow ones, in which the slower model managed fewer calls: medians of all would be 3.3."""
    first = _samples([[1100] * 45, [1100] * 45, [3300] * 50, [3300] * 50])
    second = _samples([[1000] * 50, [1000] * 50, [3000] * 50, [3000] * 50])
    assert ratio_figure([(first, second)]).value == pytest.approx(1.1)


def test_one_process_that_is_off_moves_an_end_and_not_the_value():
    pairs = [(_samples([[1000] * 9]), _samples([[1000] * 9]))] * 6
    pairs.append((_samples([[2000] * 9]), _samples([[1000] * 9])))
    ratio = ratio_figure(pairs)
    assert (ratio.low, ratio.value, ratio.high) == (1.0, 1.0, 2.0)


def multiplications(count):
    """``count`` products of a vector with one matrix of 384 rows, one after the other."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 0.05, (384, 384)).astype(np.float32)
    first = rng.normal(0, 1, (4, 384)).astype(np.float32)
    last = rng.normal(0, 1, (384, 4)).astype(np.float32)
    names = [f"h{number}" for number in range(count + 1)]
    nodes = [helper.make_node("MatMul", ["x", "first"], [names[0]])]
    nodes += [helper.make_node("MatMul", [names[i], "matrix"], [names[i + 1]]) for i in range(count)]
    nodes.append(helper.make_node("MatMul", [names[-1], "last"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("first", first), ("matrix", matrix), ("last", last))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_a_model_that_takes_twice_as_long_is_found(model_file):
    slow, fast = (model_file(name, multiplications(count)) for name, count in (("slow.onnx", 40), ("fast.onnx", 20)))
    events = []
    found = compare_speed(slow, fast, threads=1, seconds=0.6, progress=events.append)
    (ratio,) = found.ratios
    assert (ratio.variant, ratio.verdict, found.exit_code) == ("slow.onnx", Verdict.FAIL, 1)
    assert ratio.ratio.value > 1.3
    assert [event.done for event in events] == list(range(ratio.processes))
    back = compare_speed(fast, slow, threads=1, seconds=0.6)
    assert (back.exit_code, back.to_dict()["ratios"][0]["verdict"]) == (0, "pass")


def test_bundles_are_compared_variant_by_variant(make_bundle, model_content, tmp_path):
    path = make_bundle(None, {"onnx-fp32": model_content, "onnx-int8": model_content})
    whole = path.rename(tmp_path / "whole.edgeml")
    part = make_bundle(None, {"onnx-fp32": model_content})
    found = compare_speed(whole, part, threads=1, seconds=0.06, time_limit_s=1e-6)
    assert [ratio.variant for ratio in found.ratios] == ["onnx-fp32"]
    assert (found.left_out, found.ratios[0].processes, found.exit_code) == (("onnx-int8",), 1, 4)
    assert (found.to_dict()["ratios"][0]["low"], found.to_dict()["other"]) == (None, str(part))


def test_what_cannot_be_compared_is_refused(make_bundle, model_file, model_content, tmp_path):
    bundle, bare = make_bundle(None, {"onnx-int8": model_content}), model_file()
    other = bundle.rename(tmp_path / "other.edgeml")
    bundle = make_bundle()
    with pytest.raises(InputError, match="expected one of onnx-fp32 to compare with; found onnx-int8"):
        common_variants(str(bundle), str(other))
    with pytest.raises(InputError, match="two bundles or two bare models"):
        common_variants(str(bundle), str(bare))
    with pytest.raises((InputError, BundleError), match="missing"):
        common_variants(str(bundle), str(tmp_path / "missing.edgeml"))


def test_a_model_that_cannot_be_loaded_is_reported(model_file):
    broken = model_file("broken.onnx", b"no model")
    with pytest.raises(InputError, match=r"cannot be compared: .*cannot load the model"):
        compare_speed(model_file(), broken, threads=1, seconds=0.06)


def test_a_process_that_crashes_is_reported(model_file, tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'disk on fire' >&2\nkill -SEGV $$\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr("edgeml_devices.against.sys.executable", str(script))
    with pytest.raises(TargetError, match="status -11: disk on fire"):
        compare_speed(model_file(), model_file("b.onnx"), threads=1, seconds=0.06)
