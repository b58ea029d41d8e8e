"""Tracking: every training is an MLflow run, in a SQLite file of the project or at ``MLFLOW_TRACKING_URI``."""

from __future__ import annotations

import json
import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ProjectError, StorageError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

__all__ = ["RunRecord", "Tracking"]

_KIND = "edgeml.kind"
# MLflow reports its use to its makers unless told otherwise, and retries an unreachable server for minutes.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What is stored of a run.

    Attributes:
        run_id: MLflow's id.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        params: Parameters.
        tags: Tags.
        metrics: Latest value of every metric.
    """

    run_id: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Tracking:
    """The runs of one project.

    Args:
        folder: The project's folder.
        experiment: Name of the MLflow experiment: the model's name.

    Raises:
        TargetError: When the tracking server cannot be reached.
        ProjectError: When the database cannot be used.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self._state = folder / ".edgeml"
        configured = os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = configured or f"sqlite:///{self._state / 'mlflow.db'}"
        self._local = configured is None
        self._name = experiment
        for key, value in _DEFAULTS.items():
            os.environ.setdefault(key, value)
        import mlflow  # noqa: F401 (sets up its own logging, which is to be quiet from here on)

        with self._translated():
            self._client = self._open()
            self._experiment_id = self._experiment(experiment)

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run.

        Args:
            name: What MLflow shows it as.
            params: Its parameters; values are stored as text.
            tags: Its tags.

        Returns:
            The run's id.
        """
        from mlflow.entities import Param

        with self._translated():
            run = self._client.create_run(self._experiment_id, run_name=name, tags={**tags, _KIND: "train"})
            values = [Param(key, str(value)) for key, value in params.items()]
            self._client.log_batch(run.info.run_id, params=values)
        return str(run.info.run_id)

    def resume(self, run_id: str) -> bool:
        """Take up an interrupted run.

        Args:
            run_id: Its id.

        Returns:
            False when there is no such run any more, or it has finished.
        """
        with self._translated():
            if not any(run.run_id == run_id and run.status != "FINISHED" for run in self.runs()):
                return False
            self._client.update_run(run_id, status="RUNNING")
        return True

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Store metrics of a step."""
        import time

        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        with self._translated():
            self._client.log_batch(run_id, metrics=[Metric(key, value, now_ms, step) for key, value in metrics.items()])

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Store tags."""
        with self._translated():
            for key, value in tags.items():
                self._client.set_tag(run_id, key, value)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Store a copy of a file with the run."""
        if self._local:
            self._place(run_id, f"{folder}/{path.name}" if folder else path.name, path.read_bytes())
            return
        with self._translated():
            self._client.log_artifact(run_id, str(path), folder)

    def log_json(self, run_id: str, values: Mapping[str, Any], name: str) -> None:
        """Store JSON values as a file with the run."""
        if self._local:
            self._place(run_id, name, json.dumps(values, indent=1).encode())
            return
        with self._translated():
            self._client.log_dict(run_id, dict(values), name)

    def finish(self, run_id: str, status: str) -> None:
        """End a run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        with self._translated():
            self._client.set_terminated(run_id, status=status)

    def runs(self) -> list[RunRecord]:
        """The project's trainings, latest first."""
        with self._translated():
            found = self._client.search_runs(
                self._experiment_ids(), f"tags.`{_KIND}` = 'train'", order_by=["attributes.start_time DESC"]
            )
        return [_record(run) for run in found]

    def find(self, run_id: str | None) -> RunRecord:
        """A finished run.

        Args:
            run_id: Its id or the beginning of it; None for the latest that finished.

        Returns:
            The run.

        Raises:
            ProjectError: When there is none.
        """
        runs = [run for run in self.runs() if run.status == "FINISHED"]
        if run_id is None and runs:
            return runs[0]
        matching = [run for run in runs if run_id and run.run_id.startswith(run_id)]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(run.run_id for run in runs[:5]) or "none"
        wanted = "a finished run" if run_id is None else f"exactly one finished run whose id begins with {run_id}"
        raise ProjectError(f"{self.uri}: expected {wanted}, found {known}. Train first: `edgeml train PROJECT`.")

    def file(self, run_id: str, name: str) -> Path:
        """A file stored with a run, on this machine.

        Args:
            run_id: The run's id.
            name: Its path within the run's artifacts.

        Returns:
            Where it lies; a server's file is downloaded.

        Raises:
            ProjectError: When it is not there.
        """
        if self._local:
            path = self._file_of(run_id, name)
        else:
            with self._translated():
                path = Path(self._client.download_artifacts(run_id, name))
        if not path.is_file():
            raise ProjectError(f"{path}: expected this file of run {run_id}, found none. Train again.")
        return path

    @property
    def _artifacts(self) -> Path:
        return self._state / "artifacts"

    def _file_of(self, run_id: str, name: str) -> Path:
        """Where MLflow keeps a run's file, by place rather than by the stored URI: a project's folder can be moved."""
        return self._artifacts / run_id / "artifacts" / name

    def _place(self, run_id: str, name: str, content: bytes) -> None:
        path = self._file_of(run_id, name)
        partial = path.with_name(path.name + ".partial")
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, path)

    def _open(self) -> MlflowClient:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if self._local:
            self._state.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        try:
            client.search_experiments(max_results=1)
        except MlflowException as error:
            if not self._local or "out-of-date database schema" not in str(error):
                raise
            _upgrade(self.uri)
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return client

    def _experiment_ids(self) -> list[str]:
        """The experiments of this model; a project's own store can hold one for every place its folder has been at."""
        if not self._local:
            return [self._experiment_id]
        found = self._client.search_experiments()
        names = (self._name, f"{self._name} in ")
        return [e.experiment_id for e in found if e.name == names[0] or e.name.startswith(names[1])]

    def _experiment(self, name: str) -> str:
        """The experiment's id; a local one of another place (the folder was moved) is not written to."""
        location = str(self._artifacts) if self._local else None
        for candidate in (name, f"{name} in {self._state.parent}"):
            found = self._client.get_experiment_by_name(candidate)
            if found is None:
                return str(self._client.create_experiment(candidate, artifact_location=location))
            if not self._local or Path(found.artifact_location.removeprefix("file://")) == self._artifacts:
                return str(found.experiment_id)
        raise ProjectError(f"{self.uri}: expected an experiment for {location}, found others of that name.")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """MLflow's errors as ours, its announcements off the terminal."""
        import sqlite3

        names = ("mlflow", "alembic")
        levels = {name: logging.getLogger(name).level for name in names}
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{self.uri}: the tracking store cannot be used: {error}. Make room or get access, then try again."
            ) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy", "requests", "urllib3"):
                raise
            kind = ProjectError if self._local else TargetError
            raise kind(
                f"{self.uri}: expected a usable MLflow tracking store, found: {error}. "
                "Check MLFLOW_TRACKING_URI, or unset it to use a file in the project."
            ) from error
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _upgrade(uri: str) -> None:
    """Bring an older MLflow's database to this one's schema, as ``mlflow db upgrade`` does."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(uri)  # type: ignore[no-untyped-call]
    try:
        utils._upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def _record(run: Run) -> RunRecord:
    return RunRecord(
        run_id=run.info.run_id,
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
    )
