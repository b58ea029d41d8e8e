"""Runs on record: what is stored of a training, and loading it again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent, silent
from edgeml_train.checks import check_splits, data_sha256
from edgeml_train.fit import build_fused, repeatable
from edgeml_train.fused import to_tensors
from edgeml_train.overrides import apply_overrides
from edgeml_train.provenance import model_contract_sha256
from edgeml_train.settings import TrainSettings
from edgeml_train.simpler import Kept, empty_linear
from edgeml_train.slim.shape import NetworkShape
from edgeml_train.task import Splits
from edgeml_train.tracking import RunRecord, Tracking
from edgeml_train.weights import load_weights, save_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_train.fused import FusedModel
    from edgeml_train.project import Project
    from edgeml_train.report import TrainReport
    from edgeml_train.slim.result import Slimming

__all__ = ["TrainedRun", "load_data", "load_run", "load_shape", "metric_key", "store_run"]

_WEIGHTS = "weights.safetensors"
_RUN = "run.json"
_SLIMMING = "slimming.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A finished run, loaded.

    Attributes:
        run_id: MLflow's id.
        project: The project with the run's settings.
        fused: The model with the run's weights, in evaluation mode.
        splits: The data, the same as in training.
        data_sha256: Its digest.
        report: What ``train`` reported, as JSON values.
        overrides: ``KEY=VALUE`` strings it was trained with.
    """

    run_id: str
    project: Project
    fused: FusedModel
    splits: Splits
    data_sha256: str
    report: Mapping[str, Any]
    overrides: tuple[str, ...] = ()


def load_run(project: Project, run_id: str | None = None, *, progress: Progress = silent) -> TrainedRun:
    """Load a finished run: its settings, its data, its weights.

    Args:
        project: The opened project.
        run_id: The run's id or its beginning; None for the latest that finished.
        progress: Told about loading the data.

    Returns:
        The run.

    Raises:
        ProjectError: When there is no such run, or task.py, the model's part of edgeml.toml, or the data have changed
            since.
    """
    tracking = Tracking(project.folder, project.contract.name)
    record = tracking.find(run_id)
    _check_unchanged(project, record)
    stored = json.loads(tracking.file(record.run_id, _RUN).read_text("utf-8"))
    overrides = [text for text in (*stored["overrides"], *project.overrides) if text.startswith("data.")]
    data, _ = apply_overrides(project.data, {}, overrides)
    project = project.with_settings(data, TrainSettings.parse(stored["train"], source=_RUN))
    splits, digest = load_data(project, progress)
    if digest != stored["report"]["data_sha256"]:
        raise ProjectError(
            f"run {record.run_id}: expected the data it was trained on "
            f"(sha256 {stored['report']['data_sha256'][:12]}…), found others ({digest[:12]}…). "
            "Restore the data and the [data] table of edgeml.toml, or train again."
        )
    with repeatable(project.settings.threads):
        fused = project.call("building the model", lambda: build_fused(project.task, project.settings.seed))
    if shape := load_shape(project, record.run_id):
        shape.apply(fused.network)
    choice = stored["report"].get("choice")
    if choice and choice["kept"] == Kept.LINEAR.value:
        fused.network = empty_linear(_feature_count(fused, splits), fused.primary.shape[-1])
    load_weights(fused, tracking.file(record.run_id, _WEIGHTS))
    return TrainedRun(
        run_id=record.run_id,
        project=project,
        fused=fused.eval(),
        splits=splits,
        data_sha256=digest,
        report=stored["report"],
        overrides=tuple(stored["overrides"]),
    )


def load_shape(project: Project, run_id: str) -> NetworkShape | None:
    """What slimming has left of a run's network.

    Args:
        project: The opened project.
        run_id: The run's id.

    Returns:
        The shape, in indices of the network in task.py; None where it is whole.

    Raises:
        ProjectError: When there is no such run.
    """
    tracking = Tracking(project.folder, project.contract.name)
    stored = json.loads(tracking.file(run_id, _RUN).read_text("utf-8"))
    if not stored["report"].get("slimming"):
        return None
    return NetworkShape.from_dict(json.loads(tracking.file(run_id, _SLIMMING).read_text("utf-8"))["shape"])


def load_data(project: Project, progress: Progress) -> tuple[Splits, str]:
    """Load and check the splits.

    Args:
        project: The opened project.
        progress: Told when it begins and ends.

    Returns:
        The splits and their digest.

    Raises:
        ProjectError: When the data cannot be used.
    """
    progress(ProgressEvent(step="data", done=0, total=1, message="loading"))
    splits = project.call("splits()", project.task.splits)
    if not isinstance(splits, Splits):
        raise ProjectError(f"task.py: expected splits() to return edgeml_train.Splits, found {type(splits).__name__}.")
    check_splits(project.contract, splits, learns=project.settings.epochs > 0)
    digest = data_sha256(splits)
    progress(ProgressEvent(step="data", done=1, total=1, message=splits.name))
    return splits, digest


def store_run(
    project: Project,
    tracking: Tracking,
    run_id: str,
    fused: FusedModel,
    report: TrainReport,
    slimming: Slimming | None = None,
) -> None:
    """Put results and weights into the run.

    Args:
        project: The opened project.
        tracking: Where the run is.
        run_id: The run.
        fused: The model with its final weights.
        report: What training came to.
        slimming: What is left of a slimmed network; None for a whole one.
    """
    metric = project.contract.metric.primary.value
    values = {f"test_{metric}": report.metric.value, "best_epoch": float(report.best_epoch)}
    values |= {metric_key(f"test_{metric}/{part.name.replace('=', '/')}"): part.value for part in report.slices}
    if report.ranking:
        values["test_roc_auc"] = report.ranking.roc_auc
    tracking.log_metrics(run_id, values)
    run = {
        "overrides": list(project.overrides),
        "train": project.settings.to_dict(),
        "report": report.to_dict(),
    }
    if slimming is not None:
        tracking.log_json(run_id, slimming.to_dict(), _SLIMMING)
    tracking.log_json(run_id, run, _RUN)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _WEIGHTS
        save_weights(fused, path)
        tracking.log_file(run_id, path)


def _feature_count(fused: FusedModel, splits: Splits) -> int:
    """Features of one item."""
    item = splits.train.take(slice(0, 1))
    with torch.inference_mode():
        return int(fused.features(*to_tensors(item.inputs, fused.input_names)).numel())


def _check_unchanged(project: Project, record: RunRecord) -> None:
    for tag, found, what in (
        ("edgeml.task_sha256", project.task_sha256, "task.py"),
        ("edgeml.model_contract_sha256", model_contract_sha256(project), "inputs, outputs or target in edgeml.toml"),
    ):
        if record.tags.get(tag) != found:
            raise ProjectError(
                f"{project.folder}: expected {what} as in run {record.run_id}, found a change since"
                f"{', in it or in a file of the project that it imports' if what == 'task.py' else ''}. "
                "Train again (`edgeml train PROJECT`), or restore the file."
            )


def metric_key(name: str) -> str:
    """The name as MLflow accepts it for a metric."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name).replace(" ", "_")
