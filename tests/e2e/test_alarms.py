"""Machines that cool down, from a folder of series to alarms, by the real command."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from edgeml_cli.render_export import render_export
from edgeml_evaluate.alarms import operating_point
from edgeml_runtime import Bundle, Model
from edgeml_train.project import Project

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the way left behind."""

    folder: Path
    trained: dict[str, Any]
    exported: dict[str, Any]

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return self.folder / "watch-1.0.0.edgeml"


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory, edgeml: Any, series_folder: Any) -> Watch:
    folder = tmp_path_factory.mktemp("watch")
    series_folder.write_machines(folder / "machines")
    made = edgeml("init", "watch", "--template", "machine-temperature", "--data", "machines", cwd=folder)
    assert made.code == 0, made.stderr
    toml = folder / "watch" / "edgeml.toml"
    text = toml.read_text("utf-8")
    first, _, rest = text.partition("series = [")
    toml.write_text(f'{first}series = ["machines/*"]{rest.partition("]")[2]}', "utf-8")
    trained = edgeml("train", "watch", "--fast", "--json", cwd=folder)
    assert trained.code == 0, trained.stderr
    exported = edgeml("export", "watch", "--json", cwd=folder)
    return Watch(folder=folder, trained=trained.json(), exported=exported.json())


def test_every_event_is_found_and_the_rules_are_measured_beside(watch: Watch) -> None:
    report = watch.trained["anomaly"]
    assert (report["alarms"]["events"], report["alarms"]["found"]) == (6, 6)
    assert watch.trained["metric"]["value"] > 0.85
    assert [rule["name"] for rule in report["rules"]] == ["z-score", "seasonal naive"]
    assert [entry["name"] for entry in watch.trained["baselines"]] == ["z-score", "seasonal naive"]
    advantage = report["rules"][1]["advantages"]["roc_auc"]
    assert advantage["interval"]["low"] < advantage["value"] < advantage["interval"]["high"]


def test_every_variant_is_shipped_and_says_what_its_alarms_are_worth(watch: Watch) -> None:
    assert {variant["id"] for variant in watch.exported["variants"] if variant["shipped"]} == VARIANTS
    with Bundle.open(watch.bundle) as bundle:
        for variant in bundle.manifest.variants:
            assert variant.metrics["alarms"]["found"] == 6
            assert variant.metrics["event_loss"]["within"]
        card = bundle.read("card.md").decode()
    assert "Events found: 6 of 6" in card


def test_the_export_says_so_to_people(watch: Watch) -> None:
    shown = io.StringIO()
    render_export(Console(file=shown, width=120), watch.exported)
    assert shown.getvalue().count("finds 6 of 6 events") == len(VARIANTS)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_application_sees_the_alarms_that_were_counted(watch: Watch, variant: str) -> None:
    project = Project.open(watch.folder / "watch", ())
    data = project.task.splits().test
    rows = np.arange(0, len(data), 7)
    part = data.take(rows)
    with Model.load(watch.bundle, variant=variant) as model:
        assert model.self_test().passed
        results = model.predict_batch({name: array[rows] for name, array in data.inputs.items()})
    scores = np.array([result.score for result in results])
    assert [result.alarm for result in results] == (scores > 1).tolist()
    assert all(result.label is None and result.scores is None for result in results)
    point = operating_point(project.contract, part, scores)
    assert point.found == 6
    assert point.false_alarms_per_day < 1


def test_the_threshold_is_part_of_the_model(watch: Watch) -> None:
    """Scores of the exported model are the trained one's, divided by the threshold that the report states."""
    from edgeml_train.fused import predict_array
    from edgeml_train.runs import load_run

    run = load_run(Project.open(watch.folder / "watch", ()))
    threshold = watch.trained["anomaly"]["threshold"]
    assert float(run.fused.threshold) == pytest.approx(threshold, rel=1e-6)
    validation = run.splits.validation
    scores = predict_array(run.fused, validation.inputs)[:, 0]
    assert (scores[validation.targets == 0] > 1).sum() >= watch.trained["anomaly"]["validation_false_alarms"]
    run.fused.threshold.fill_(1.0)
    assert predict_array(run.fused, validation.inputs)[:, 0] == pytest.approx(threshold * scores, rel=1e-5)


def test_a_prediction_says_alarm_or_not(watch: Watch, edgeml: Any) -> None:
    usual = {"readings": [80 + (index % 5) / 5 for index in range(96)], "level": [80.4], "spread": [2.0]}
    cold = usual | {"readings": [40.0] * 96}
    for item, alarm in ((usual, False), (cold, True)):
        (watch.folder / "item.json").write_text(json.dumps(item), "utf-8")
        said = edgeml("predict", watch.bundle.name, "item.json", "--json", cwd=watch.folder).json()
        assert said["alarm"] is alarm
        shown = edgeml("predict", watch.bundle.name, "item.json", cwd=watch.folder).stdout
        assert ("no alarm" in shown) is not alarm


def test_a_variant_that_cries_too_often_is_not_shipped(watch: Watch, edgeml: Any) -> None:
    toml = watch.folder / "watch" / "edgeml.toml"
    text = toml.read_text("utf-8")
    limit = "false_alarms_per_day_limit = 0.5"
    assert limit in text
    toml.write_text(text.replace(limit, "false_alarms_per_day_limit = 0.0"), "utf-8")
    try:
        refused = edgeml(
            "export", "watch", "--variants", "onnx-fp32", "--json", "--out", "refused.edgeml", cwd=watch.folder
        )
    finally:
        toml.write_text(text, "utf-8")
    reasons = {variant["id"]: variant["reason"] for variant in refused.json()["variants"]}
    if watch.trained["anomaly"]["alarms"]["false_alarms"]:
        assert refused.code == 1
        assert "anomaly.false_alarms_per_day_limit allows 0" in reasons["onnx-fp32"]
        assert not (watch.folder / "refused.edgeml").exists()
    else:
        assert refused.code == 0
