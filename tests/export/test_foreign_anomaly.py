"""A scoring model that was made elsewhere, wrapped as an anomaly score: its alarms are counted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeml_export.foreign import export_foreign, load_foreign_data
from edgeml_runtime import Bundle, Model
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ProjectError

RNG = np.random.default_rng(4)
HOURS = 96


def contract(**anomaly):
    return parse_contract(
        {
            "model": {"name": "foreign", "version": "1.0.0"},
            "inputs": [
                {"name": "x", "dtype": "float32", "shape": [4], "range": [-9, 9], "unit": "g", "source": "sensor"}
            ],
            "outputs": [{"name": "score", "role": "value", "shape": [1]}],
            "target": {"name": "unusual", "kind": "anomaly"},
            "metric": {"primary": "roc_auc", "floor": 0.5},
            "anomaly": {"false_alarms_per_day": 1.0, "item_minutes": 60, **anomaly},
            "export": {"variants": ["onnx-fp32"], "required": ["onnx-fp32"]},
        },
        source="test",
    )


@pytest.fixture(scope="module")
def mean_square(tmp_path_factory):
    """The mean square of four readings: above 1 for what lies far out."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "x"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["score"], axes=[1], keepdims=1),
        ],
        "score",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1])],
    )
    path = tmp_path_factory.mktemp("foreign") / "score.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def items(tmp_path):
    """Four days of hours, the last five of which are unusual; two usual ones lie far out as well."""
    targets = (np.arange(HOURS) >= HOURS - 5).astype(np.int64)
    readings = RNG.normal(0, 0.2, (HOURS, 4)).astype(np.float32)
    readings[targets == 1] += 3
    readings[[10, 40]] += 2

    def write(**changes):
        arrays = {
            "x": readings,
            "targets": targets,
            "time": (np.datetime64("2024-01-01T00:00:00") + np.arange(HOURS) * np.timedelta64(1, "h")).astype(str),
            "series": np.full(HOURS, "press"),
            "event": np.where(targets == 1, "jam", ""),
        }
        path = tmp_path / "items.npz"
        np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
        return path

    return write


def wrap(model, data, tmp_path, **anomaly):
    promised = contract(**anomaly)
    loaded = load_foreign_data(data, promised)
    return export_foreign(model, contract=promised, out=tmp_path / "foreign-1.0.0.edgeml", data=loaded)


def test_its_alarms_are_counted_and_stand_in_the_bundle(mean_square, items, tmp_path):
    report = wrap(mean_square, items(), tmp_path)
    with Bundle.open(report.bundle) as bundle:
        (variant,) = bundle.manifest.variants
    alarms = variant.metrics["alarms"]
    assert (alarms["events"], alarms["found"], alarms["false_alarms"]) == (1, 1, 2)
    assert variant.metrics["event_loss"]["within"]
    with Model.load(report.bundle) as model:
        assert model.predict(np.full(4, 2.0, np.float32)).alarm is True
        assert model.predict(np.full(4, 0.5, np.float32)).alarm is False


def test_without_times_and_events_items_stand_for_themselves(mean_square, items, tmp_path):
    report = wrap(mean_square, items(time=None, series=None, event=None), tmp_path)
    with Bundle.open(report.bundle) as bundle:
        assert bundle.manifest.variants[0].metrics["alarms"]["events"] == 5


def test_too_many_false_alarms_are_refused(mean_square, items, tmp_path):
    report = wrap(mean_square, items(), tmp_path, false_alarms_per_day_limit=0.1)
    assert "anomaly.false_alarms_per_day_limit allows 0.1" in str(report.to_dict())
    assert not (tmp_path / "foreign-1.0.0.edgeml").exists()


@pytest.mark.parametrize("targets", [np.full(HOURS, 2), np.full(HOURS, 0.5), np.full(HOURS, "bad")])
def test_other_targets_are_refused(mean_square, items, tmp_path, targets):
    with pytest.raises(ProjectError, match="expected 0 for usual and 1 for unusual items"):
        wrap(mean_square, items(targets=targets), tmp_path)
