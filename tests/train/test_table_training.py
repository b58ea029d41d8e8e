"""Training on a mixed table: which model is kept, and what an unknown category means to it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, init_project, load_run, train_project
from edgeml_train.fit import build_fused
from edgeml_train.fused import predict_array

# The order of OneHot's columns behind the three numbers: north, south, unknown; early, late, night, unknown.
UNKNOWN = [5, 9]
BARE = ("train.augment=false", "train.prefer_simpler=false")


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mixed = load("mixed_table")


def without_unknown(rows):
    """Every category of these rows is known, as in many a tidy training set."""
    return [{**row, "site": "north" if row["site"] in ("NA", "lab") else row["site"]} for row in rows]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_store):
    """Runs of the table after a law, each trained once."""
    runs = {}

    def run(law, *overrides):
        if (law, overrides) not in runs:
            folder = tmp_path_factory.mktemp("tables")
            mixed.write_csv(folder / "t.csv", without_unknown(mixed.mixed_rows(law=law)))
            project = init_project(folder / "wear", "sensor-table", folder / "t.csv")
            (project / "edgeml.toml").write_text(mixed.mixed_contract(str(folder / "t.csv")))
            shutil.copyfile(empty_store, project / ".edgeml" / "mlflow.db")
            report = train_project(Project.open(project, overrides))
            runs[law, overrides] = load_run(Project.open(project)), report
        return runs[law, overrides]

    return run


def scores(run, **categories):
    """Scores of the class "worn" on the test split, its categories replaced where named."""
    inputs = dict(run.splits.test.inputs)
    inputs["categories"] = inputs["categories"].copy()
    for column, index in categories.items():
        inputs["categories"][:, list(mixed.CATEGORIES).index(column)] = index
    logits = torch.from_numpy(predict_array(run.fused, inputs))
    return torch.softmax(logits, dim=1)[:, 1].numpy()


def log_loss(run, worn):
    right = np.where(run.splits.test.targets == 1, worn, 1 - worn)
    return float(-np.log(np.clip(right, 1e-7, 1)).mean())


def test_the_network_is_kept_where_the_columns_work_together(trained):
    run, report = trained(mixed.Law.CROSSED)

    assert report.choice.kept.value == "network"
    assert report.choice.network == report.metric
    assert report.metric.value > next(b for b in report.baselines if b.name == "linear model").metric.value + 0.1
    assert not report.boosting.beats
    assert report.ranking.roc_auc > 0.9
    assert isinstance(run.fused.network[0], torch.nn.Linear)


def test_the_linear_model_is_kept_where_it_says_all_there_is(trained):
    run, report = trained(mixed.Law.ADDITIVE)

    assert report.choice.kept.value == "linear model"
    assert report.parameters == 2 * 10 + 2
    assert [type(layer).__name__ for layer in run.fused.network] == ["Flatten", "Linear"]
    # The kept model is the very baseline of the table above it.
    linear = next(b for b in report.baselines if b.name == "linear model")
    assert report.metric.value == pytest.approx(linear.metric.value, abs=1e-12)


def test_a_loaded_run_is_the_model_that_was_kept(trained):
    run, report = trained(mixed.Law.ADDITIVE)
    right = (scores(run) > 0.5) == (run.splits.test.targets == 1)

    assert right.mean() == pytest.approx(report.metric.value)


def test_no_training_item_is_unknown_in_these_tables(trained):
    """What the tests below rest on: the unknown is met by augmentation alone."""
    run, _ = trained(mixed.Law.CROSSED)

    assert run.splits.train.inputs["categories"].min() == 0


def test_weights_of_the_unknown_move_only_where_the_unknown_is_met(trained):
    for overrides, moved in (((), True), (BARE, False)):
        run, _ = trained(mixed.Law.CROSSED, *overrides)
        initial = build_fused(run.project.task, run.project.settings.seed).network[0].weight.detach()
        ratio = run.fused.network[0].weight.detach()[:, UNKNOWN] / initial[:, UNKNOWN]
        # What nothing trains only shrinks, by weight decay.
        assert (ratio.std() > 1e-3) == moved


def test_the_unknown_bin_is_trained(trained):
    """Who does not know the site knows nothing: log 2. A bin that nothing trained gives guesses for knowledge."""
    run, bare = trained(mixed.Law.CROSSED)[0], trained(mixed.Law.CROSSED, *BARE)[0]
    loss, bare_loss = (log_loss(model, scores(model, site=-1)) for model in (run, bare))

    assert abs(loss - np.log(2)) < 0.5 * (bare_loss - np.log(2))


def test_the_linear_model_knows_the_unknown_too(trained):
    """Its scores at an unknown shift are those between the shifts, and at an unknown site nothing changes."""
    run, _ = trained(mixed.Law.ADDITIVE)
    between = np.mean([scores(run, shift=index) for index in range(3)], axis=0)

    assert np.abs(scores(run, shift=-1) - between).mean() < 0.05
    assert np.abs(scores(run, shift=2) - between).mean() > 0.1
    assert np.abs(scores(run, site=-1) - scores(run)).mean() < 0.02


def test_without_the_setting_the_network_stays_and_nothing_is_chosen(trained):
    run, report = trained(mixed.Law.CROSSED, *BARE)

    assert report.choice is None
    assert len(run.fused.network) > 2
    assert [b.name for b in report.baselines] == ["majority class", "linear model", "gradient boosting"]
    assert report.boosting is not None


def test_every_index_out_of_the_list_is_the_same_unknown(trained):
    run, _ = trained(mixed.Law.CROSSED)

    np.testing.assert_array_equal(scores(run, site=2), scores(run, site=-1))
    assert not np.array_equal(scores(run, site=0), scores(run, site=-1))


def test_a_label_that_only_the_newest_rows_have_is_refused(tmp_path, empty_store):
    rows = mixed.mixed_rows(300)
    for row in rows:
        row["state"] = "worn" if row["taken_at"] > "2025-01-06" else "ok"
    mixed.write_csv(tmp_path / "t.csv", rows)
    folder = init_project(tmp_path / "wear", "sensor-table", tmp_path / "t.csv")
    (folder / "edgeml.toml").write_text(mixed.mixed_contract(str(tmp_path / "t.csv"), data='time = "taken_at"'))
    with pytest.raises(ProjectError, match=r"expected training items of every label .* found none of 1 of 2: worn"):
        train_project(Project.open(folder))


def test_the_template_on_its_own_table(tmp_path, empty_store):
    """Without a file it brings the breast-cancer table; the bar of this template."""
    folder = init_project(tmp_path / "tumours", "sensor-table")
    shutil.copyfile(empty_store, folder / ".edgeml" / "mlflow.db")
    report = train_project(Project.open(folder, ["train.epochs=10"]))

    assert report.items == {"train": 341, "validation": 86, "test": 142}
    assert report.ranking.roc_auc >= 0.98
    assert report.ranking.interval.low > 0.95
    assert report.floor_met
    assert report.choice.kept.value == "linear model"
    assert report.choice.to_dict()["validation"]["interval"]["low"] <= 0
