from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData, MetricValue, run_backend, score_predictions, slice_report
from edgeml_runtime.errors import InputError, ProjectError


def items(n=30):
    targets = np.arange(n) % 3
    speakers = np.array(["ann" if i < 20 else "bob" for i in range(n)])
    return LabelledData(inputs={"x": np.zeros((n, 4), np.float32)}, targets=targets, attributes={"speaker": speakers})


def logits_for(predictions):
    return np.eye(3, dtype=np.float32)[predictions]


def test_slices_hold_their_own_items_only(contract):
    data = items()
    predictions = data.targets.copy()
    predictions[20:25] = (predictions[20:25] + 1) % 3  # half of bob's are wrong

    results = {result.name: result for result in slice_report(contract, data, predictions)}

    assert list(results) == ["speaker=ann", "speaker=bob", "label=a", "label=b", "label=c"]
    assert (results["speaker=ann"].value, results["speaker=ann"].n) == (1.0, 20)
    assert (results["speaker=bob"].value, results["speaker=bob"].n) == (0.5, 10)
    assert sum(results[f"label={name}"].n for name in "abc") == 30


def test_small_slices_are_marked(contract):
    contract = replace(contract, slices=replace(contract.slices, min_items=11))
    results = {result.name: result for result in slice_report(contract, items(), items().targets)}

    assert results["speaker=bob"].too_small
    assert not results["speaker=ann"].too_small


def test_a_missing_attribute_is_named(contract):
    data = replace(items(), attributes={})
    with pytest.raises(ProjectError, match=r"attribute 'speaker'.*the items have only: none"):
        slice_report(contract, data, data.targets)


def test_the_label_attribute_is_taken_from_the_task_where_it_gives_one(contract):
    data = items()
    data = replace(data, attributes={**data.attributes, "label": np.array(["same"] * 30)})

    assert "label=same" in [result.name for result in slice_report(contract, data, data.targets)]


def test_score_is_over_the_decisions(contract):
    data = items()
    predictions = data.targets.copy()
    predictions[0] = 1

    score = score_predictions(contract, data, logits_for(predictions))

    assert score.metric.value == pytest.approx(29 / 30)
    assert score.metric.n == 30
    assert score.metric.interval.method == "wilson"
    assert MetricValue.from_dict(score.metric.to_dict()) == score.metric
    assert score.to_dict()["slices"][0]["name"] == "speaker=ann"


def test_score_draws_groups_where_the_contract_names_one(contract):
    score = score_predictions(replace(contract, group="speaker"), items(), logits_for(items().targets))

    assert score.metric.interval.method == "cluster-bootstrap"
    assert "2 groups only" in score.metric.interval.note


class DoublingBackend:
    """A backend that hands out the same buffer every time, as real ones do."""

    name, version = "double", "1"

    def __init__(self):
        self.buffer = np.zeros((1, 3), np.float32)
        self.shapes = []

    def run(self, feeds):
        self.shapes.append(feeds[0].shape)
        self.buffer[:] = feeds[0][:, :3] * 2
        return [self.buffer, self.buffer]

    def close(self):
        pass


def test_run_backend_runs_every_item_alone_and_in_order(contract):
    backend, events = DoublingBackend(), []
    inputs = {"x": np.arange(480, dtype=np.float32).reshape(120, 4)}

    outputs = run_backend(backend, inputs, contract, events.append)

    assert set(backend.shapes) == {(1, 4)}
    np.testing.assert_array_equal(outputs["logits"], inputs["x"][:, :3] * 2)
    assert outputs["scores"].shape == (120, 3)
    assert [(event.done, event.total) for event in events] == [(1, 120), (51, 120), (101, 120), (120, 120)]


@pytest.mark.parametrize("inputs", [{"y": np.zeros((1, 4))}, {"x": np.zeros((0, 4))}])
def test_run_backend_refuses_missing_inputs_and_no_items(contract, inputs):
    with pytest.raises(InputError, match="expected"):
        run_backend(DoublingBackend(), inputs, contract)
