from __future__ import annotations

import os
import shutil
import socket
import sqlite3

import pytest

from edgeml_runtime.errors import ProjectError, StorageError
from edgeml_train.tracking import Tracking


@pytest.fixture
def folder(make_project):
    return make_project()


def finished(tracking, name="one", **metrics):
    run_id = tracking.start(name, {"epochs": 3, "path": "/a b"}, {"edgeml.note": "n"})
    tracking.log_metrics(run_id, metrics or {"loss": 1.0})
    tracking.finish(run_id, "FINISHED")
    return run_id


def test_a_run_is_recorded(folder):
    tracking = Tracking(folder, "tiny")
    run_id = finished(tracking, loss=0.5)
    tracking.log_metrics(run_id, {"loss": 0.25}, step=1)
    tracking.log_tags(run_id, {"edgeml.more": "m"})

    record = tracking.find(None)

    assert (record.run_id, record.status) == (run_id, "FINISHED")
    assert record.params == {"epochs": "3", "path": "/a b"}
    assert record.metrics == {"loss": 0.25}
    assert record.tags["edgeml.note"] == "n"
    assert record.tags["edgeml.more"] == "m"
    assert (folder / ".edgeml" / "mlflow.db").is_file()


def test_files_are_kept_with_the_run_also_when_the_folder_moves(folder, tmp_path):
    tracking = Tracking(folder, "tiny")
    run_id = finished(tracking)
    tracking.log_json(run_id, {"a": 1}, "run.json")
    (tmp_path / "notes.txt").write_text("hello")
    tracking.log_file(run_id, tmp_path / "notes.txt", "texts")
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)

    there = Tracking(moved, "tiny")

    assert '"a": 1' in there.file(run_id, "run.json").read_text()
    assert there.file(run_id, "texts/notes.txt").is_relative_to(moved)
    assert there.find(None).run_id == run_id
    there.log_file(run_id, tmp_path / "notes.txt", "later")
    assert there.file(run_id, "later/notes.txt").is_relative_to(moved)
    second = finished(there, "two")
    there.log_json(second, {}, "run.json")
    assert there.file(second, "run.json").is_relative_to(moved)
    assert not folder.exists()


def test_mlflow_finds_the_files_too(folder, tmp_path):
    from mlflow.tracking import MlflowClient

    tracking = Tracking(folder, "tiny")
    run_id = finished(tracking)
    (tmp_path / "notes.txt").write_text("hello")
    tracking.log_file(run_id, tmp_path / "notes.txt", "texts")
    tracking.log_json(run_id, {"a": 1}, "run.json")
    client = MlflowClient(tracking.uri)

    assert sorted(item.path for item in client.list_artifacts(run_id)) == ["run.json", "texts"]
    assert [item.path for item in client.list_artifacts(run_id, "texts")] == ["texts/notes.txt"]


def test_a_missing_file_is_named(folder):
    tracking = Tracking(folder, "tiny")
    with pytest.raises(ProjectError, match=r"weights\.safetensors: expected this file of run"):
        tracking.file(finished(tracking), "weights.safetensors")


def test_find_takes_the_latest_that_finished_or_one_by_its_beginning(folder):
    tracking = Tracking(folder, "tiny")
    with pytest.raises(ProjectError, match=r"expected a finished run, found none.*Train first"):
        tracking.find(None)
    first, second = finished(tracking), finished(tracking)
    killed = tracking.start("three", {}, {})
    tracking.finish(killed, "KILLED")

    assert tracking.find(None).run_id == second
    assert tracking.find(first[:10]).run_id == first
    with pytest.raises(ProjectError, match=f"id begins with {killed}"):
        tracking.find(killed)


def test_resume_takes_up_what_has_not_finished(folder):
    tracking = Tracking(folder, "tiny")
    done = finished(tracking)
    killed = tracking.start("two", {}, {})
    tracking.finish(killed, "KILLED")

    assert not tracking.resume(done)
    assert not tracking.resume("0" * 32)
    assert tracking.resume(killed)
    assert {run.run_id: run.status for run in tracking.runs()} == {done: "FINISHED", killed: "RUNNING"}


def test_the_tracking_uri_is_respected(folder, tmp_path, monkeypatch, empty_store):
    other = tmp_path / "other.db"
    shutil.copyfile(empty_store, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    monkeypatch.chdir(tmp_path)
    before = (folder / ".edgeml" / "mlflow.db").read_bytes()

    tracking = Tracking(folder, "tiny")
    run_id = finished(tracking)
    tracking.log_json(run_id, {"a": 1}, "run.json")

    assert tracking.uri == f"sqlite:///{other}"
    assert tracking.file(run_id, "run.json").read_text().strip().startswith("{")
    assert (folder / ".edgeml" / "mlflow.db").read_bytes() == before
    with sqlite3.connect(other) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    database.close()


def test_two_stores_are_told_apart_by_project(folder, make_project):
    Tracking(folder, "tiny").start("one", {}, {})

    assert Tracking(make_project("second"), "tiny").runs() == []


def test_a_broken_database_is_named(folder):
    (folder / ".edgeml" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(ProjectError, match=r"mlflow\.db: expected a usable MLflow tracking store"):
        Tracking(folder, "tiny")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / ".edgeml").write_text("a file")
    with pytest.raises(StorageError, match="the tracking store cannot be used"):
        Tracking(tmp_path, "tiny")


def test_an_older_database_is_brought_up_to_date_in_silence(folder, capfd):
    from alembic import command
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = folder / ".edgeml" / "mlflow.db"
    path.unlink()
    uri = f"sqlite:///{path}"
    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "acf3f17fdcc7")
    engine.dispose()
    capfd.readouterr()

    tracking = Tracking(folder, "tiny")

    assert capfd.readouterr() == ("", "")

    assert tracking.find(finished(tracking)).status == "FINISHED"


def test_nothing_is_printed_and_nothing_is_sent(folder, capfd, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("tried the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    finished(Tracking(folder, "tiny"))

    assert capfd.readouterr() == ("", "")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "true"
