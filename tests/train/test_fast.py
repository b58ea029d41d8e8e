"""``edgeml train --fast``: what it sets, that it is on record, and that a run keeps it."""

from __future__ import annotations

import json
import tomllib
import zipfile
from pathlib import Path

import pytest

from edgeml_cli.render import fast_text
from edgeml_runtime.errors import ContractError
from edgeml_train import TEMPLATES, Project, TrainSettings, export_project, load_run, train_project
from edgeml_train.fast import check_fast, fast_run
from edgeml_train.overrides import apply_overrides
from edgeml_train.provenance import command
from edgeml_train.tracking import Tracking

TABLE = """
[fast]
train.epochs = 2
data.seed = 8
"""


@pytest.fixture
def fast_project(make_project):
    """The tiny project with a [fast] table."""
    folder = make_project()
    toml = folder / "edgeml.toml"
    toml.write_text(toml.read_text() + TABLE)
    return folder


@pytest.mark.parametrize(("epochs", "overrides"), [(30, ("train.epochs=3",)), (3, ()), (1, ())])
def test_without_a_table_three_epochs_at_most(epochs, overrides):
    chosen = fast_run(None, {"epochs": epochs}, source="edgeml.toml")
    assert chosen.overrides == overrides
    assert chosen.default


def test_an_empty_table_sets_nothing():
    chosen = fast_run({"data": {}, "train": {}}, {"epochs": 30}, source="edgeml.toml")
    assert chosen.overrides == ()
    assert not chosen.default


def test_every_value_of_toml_comes_back_as_it_was():
    text = r"""
    word = "authors"
    odd = 'a "b" \ ü 😀, c = d'
    lines = "one\ntwo\t"
    number = -1e-05
    large = 1e22
    endless = inf
    count = 12
    yes = true
    names = ["theo", "b = c"]
    nested = [[1, 2], []]
    table.site = ["north", "south"]
    table."odd key".deep = 1
    day = 2026-01-31
    instant = 2026-01-31T12:30:00.5Z
    "with.dot" = 1
    """
    data = tomllib.loads(text)
    chosen = fast_run({"data": data, "train": {"epochs": 2}}, {}, source="edgeml.toml")
    assert apply_overrides({"word": "old", "kept": 1}, {}, chosen.overrides) == ({"kept": 1, **data}, {"epochs": 2})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"data": {}, "train": {"epochz": 2}}, r"fast\.train\.epochz: expected one of .*nearest is 'epochs'"),
        ({"data": {}, "train": {"epochs": "2"}}, r"fast\.train\.epochs: expected an integer"),
        ({"data": {"a=b": 2}, "train": {}}, r"fast\.data\.a=b: expected what can be given as --set data\.KEY=VALUE"),
    ],
)
def test_faults_of_the_table_name_their_key(table, message):
    with pytest.raises(ContractError, match=message):
        check_fast(table, source="edgeml.toml")


def test_a_fault_is_told_without_fast_too(make_project):
    folder = make_project()
    toml = folder / "edgeml.toml"
    toml.write_text(toml.read_text() + "[fast]\ntrain.epoch = 2\n")
    with pytest.raises(ContractError, match=r"fast\.train\.epoch"):
        Project.open(folder)


def test_the_table_is_applied_before_what_is_given(fast_project):
    plain = Project.open(fast_project)
    fast = Project.open(fast_project, fast=True)
    given = Project.open(fast_project, ["train.epochs=4"], fast=True)

    assert (plain.settings.epochs, plain.data["seed"], plain.fast) == (6, 3, None)
    assert (fast.settings.epochs, fast.data["seed"]) == (2, 8)
    assert (given.settings.epochs, given.data["seed"]) == (4, 8)
    assert command(fast) == "edgeml train tiny --fast"
    assert command(given) == "edgeml train tiny --fast --set train.epochs=4"


def test_a_fast_run_says_so_and_keeps_its_settings(fast_project, tmp_path):
    project = Project.open(fast_project, fast=True)
    report = json.loads(json.dumps(train_project(project).to_dict()))
    run = load_run(Project.open(fast_project))
    export = export_project(Project.open(fast_project), out=tmp_path / "b.edgeml")
    (record,) = Tracking(project.folder, "tiny").runs()

    assert report["epochs"] == 2
    assert report["fast"] == {"overrides": ["train.epochs=2", "data.seed=8"], "default": False}
    assert (run.project.settings.epochs, run.project.data["seed"]) == (2, 8)
    assert record.tags["edgeml.fast"] == "true"
    assert export.to_dict()["fast"] == report["fast"]
    assert "- A fast run" in zipfile.ZipFile(export.bundle).read("card.md").decode()


def test_any_other_run_says_nothing(make_project):
    project = Project.open(make_project(), ["train.epochs=1"])
    assert train_project(project).to_dict()["fast"] is None
    assert "edgeml.fast" not in Tracking(project.folder, "tiny").runs()[0].tags


def test_what_a_person_reads():
    assert "[fast] of edgeml.toml sets train.epochs=2." in plain(
        fast_text({"overrides": ["train.epochs=2"], "default": False})
    )
    assert "edgeml.toml has no [fast] table, so it is train.epochs=3." in plain(
        fast_text({"overrides": ["train.epochs=3"], "default": True})
    )


def plain(markup):
    from rich.text import Text

    return Text.from_markup(markup).plain


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "blank"])
def test_every_template_says_what_fast_is(template):
    text = (
        Path(__file__).parents[2] / "train/edgeml_train/templates" / TEMPLATES[template].folder / "edgeml.toml"
    ).read_text()
    toml = tomllib.loads(text.replace("__DATA__", '"data"'))
    table = {"data": {}, "train": {}, **toml["fast"]}
    check_fast(table, source=template)
    assert TrainSettings(**{**toml["train"], **table["train"]}).epochs < TrainSettings(**toml["train"]).epochs
