"""The pipeline: joins data, baselines, fitting, tracking and export."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeml_evaluate.scoring import Score, score_predictions
from edgeml_runtime.errors import ProjectError, StorageError
from edgeml_runtime.progress import Progress, silent
from edgeml_train.baseline import BaselineResult, best_baseline, fit_baselines
from edgeml_train.card import card_text
from edgeml_train.checkpoint import ResumeFolder
from edgeml_train.fit import FitResult, build_fused, fit, repeatable
from edgeml_train.fused import FusedModel, predict_array, to_tensors
from edgeml_train.networks import count_parameters
from edgeml_train.provenance import code_tags, run_key
from edgeml_train.report import ProjectExport, TrainReport
from edgeml_train.runs import TrainedRun, load_data, load_run, metric_key, store_run
from edgeml_train.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeml_evaluate.data import LabelledData
    from edgeml_export.export import ExportOptions
    from edgeml_runtime.contract import Contract
    from edgeml_train.callbacks import Epoch
    from edgeml_train.project import Project
    from edgeml_train.task import Splits

__all__ = ["TrainedRun", "export_project", "load_run", "train_project"]


def train_project(project: Project, *, progress: Progress = silent) -> TrainReport:
    """Train a project: baselines first, then the model, all of it in one tracked run.

    When the last training with the same data, settings and code was interrupted, it is taken up where it stopped;
    otherwise a new run begins.

    Args:
        project: The opened project.
        progress: Told about every step.

    Returns:
        What the run came to.

    Raises:
        ProjectError: When project or data cannot be used.
        TargetError: When the tracking server cannot be reached.
        KeyboardInterrupt: On Ctrl-C; the run is marked as killed and can be taken up.
    """
    started = time.monotonic()
    splits, digest = load_data(project, progress)
    with repeatable(project.settings.threads):
        fused = _fitted(project, splits)
    tracking = Tracking(project.folder, project.contract.name)
    resume = ResumeFolder(project.state_folder / "resume", run_key(project, digest))
    with resume.locked():
        run_id = _begin(project, splits, digest, tracking, resume, count_parameters(fused.network))
        with _recorded(tracking, run_id, resume):
            report = _train(project, splits, fused, tracking, resume, run_id, progress)
            report = replace(report, data_sha256=digest, duration_s=time.monotonic() - started)
            store_run(project, tracking, run_id, fused, report)
    return report


def export_project(
    project: Project,
    *,
    run_id: str | None = None,
    out: Path | None = None,
    contract: Contract | None = None,
    options: ExportOptions | None = None,
    progress: Progress = silent,
) -> ProjectExport:
    """Export a run of a project to a verified bundle.

    Ranges of activations come from items of the training split, the precision search judges by the validation split,
    and nothing but the final score reads the test split.

    Args:
        project: The opened project.
        run_id: Which run; None for the latest that finished.
        out: The bundle's path, or a folder for it; None for ``NAME-VERSION.edgeml`` in the working directory.
        contract: The project's contract with other variants, see :func:`edgeml_export.choice.choose_variants`; None for
            the contract as it stands.
        options: How to export; the defaults of :class:`edgeml_export.export.ExportOptions` when left out.
        progress: Told about every step.

    Returns:
        The export's report together with the run it is of; no bundle when a required variant failed.

    Raises:
        ProjectError: As for :func:`load_run`.
    """
    from edgeml_export import export_bundle

    run = load_run(project, run_id, progress=progress)
    contract = contract or project.contract
    target = out or Path.cwd()
    if target.is_dir():
        target = target / f"{contract.name}-{contract.version}.edgeml"
    settings = run.project.settings
    with repeatable(settings.threads):
        score = _score(run.project, run.fused, run.splits.test)
        report = export_bundle(
            run.fused,
            contract=contract,
            calibration=calibration_items(run.splits.train, contract.export.calibration_items, settings.seed),
            test=run.splits.test,
            validation=run.splits.validation,
            options=options,
            out=target.resolve(),
            golden_files={index: str(path) for index, path in run.splits.files.items()},
            card=_card(run, score),
            progress=progress,
        )
    export = ProjectExport(run_id=run.run_id, split=run.splits.name, training=run.report, export=report)
    _store_export(Tracking(project.folder, contract.name), export)
    return export


def calibration_items(train: LabelledData, count: int, seed: int) -> LabelledData:
    """Items that calibrate activation ranges: a random choice from the training split.

    Args:
        train: The training split.
        count: How many; all when there are fewer.
        seed: Seed of the choice.

    Returns:
        The items.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    return train.take(np.sort(order[:count]))


@contextmanager
def _recorded(tracking: Tracking, run_id: str, resume: ResumeFolder) -> Iterator[None]:
    """Record how the run ends; an interrupted one, or one stopped by the machine, can be taken up again."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        tracking.finish(run_id, "KILLED")
        raise
    except OSError as error:
        tracking.finish(run_id, "FAILED")
        raise StorageError(f"training: {error}. Make room or get access, then run the same command again.") from error
    except BaseException as error:
        if isinstance(error, ProjectError):
            resume.clear()
        tracking.finish(run_id, "FAILED")
        raise
    tracking.finish(run_id, "FINISHED")
    resume.clear()


def _fitted(project: Project, splits: Splits) -> FusedModel:
    """A fresh model, its features fitted on the training split where they have something to learn."""
    fused = project.call("building the model", lambda: build_fused(project.task, project.settings.seed))
    learn = getattr(fused.features, "fit", None)
    if learn is not None:
        project.call("fitting the features", lambda: learn(splits.train.inputs))
    project.call("running the model", lambda: fused.check(splits.train.inputs))
    return fused


def _begin(
    project: Project, splits: Splits, digest: str, tracking: Tracking, resume: ResumeFolder, parameters: int
) -> str:
    """The interrupted run with the same key, or a new one."""
    interrupted = resume.run_id()
    if interrupted and tracking.resume(interrupted):
        return interrupted
    resume.clear()
    params: dict[str, Any] = {f"train.{key}": value for key, value in project.settings.to_dict().items()}
    params |= {f"data.{key}": value for key, value in project.data.items()}
    params |= {"split": splits.name, "data_sha256": digest, "parameters": parameters}
    params |= {f"items.{name}": len(getattr(splits, name)) for name in ("train", "validation", "test")}
    run_id = tracking.start(f"{project.contract.name}-{project.contract.version}", params, code_tags(project))
    resume.begin(run_id)
    return run_id


def _train(
    project: Project,
    splits: Splits,
    fused: FusedModel,
    tracking: Tracking,
    resume: ResumeFolder,
    run_id: str,
    progress: Progress,
) -> TrainReport:
    metric = project.contract.metric.primary
    baselines = _baselines(project, splits, fused, progress)
    tracking.log_metrics(run_id, {metric_key(f"baseline_{b.name}_{metric.value}"): b.metric.value for b in baselines})
    result = _fit_logged(project, splits, fused, tracking, resume, run_id, progress)
    with repeatable(project.settings.threads):
        score = _score(project, fused, splits.test)
    floor, value = project.contract.metric.floor, score.metric.value
    return TrainReport(
        run_id=run_id,
        tracking_uri=tracking.uri,
        split=splits.name,
        items={name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
        metric=score.metric,
        floor_met=value >= floor if metric.higher_is_better else value <= floor,
        baseline=best_baseline(baselines),
        baselines=baselines,
        slices=score.slices,
        parameters=count_parameters(fused.network),
        epochs=len(result.history),
        best_epoch=result.best_epoch + 1,
        resumed_at=None if result.resumed_at is None else result.resumed_at + 1,
        data_sha256="",
        duration_s=0.0,
    )


def _fit_logged(
    project: Project,
    splits: Splits,
    fused: FusedModel,
    tracking: Tracking,
    resume: ResumeFolder,
    run_id: str,
    progress: Progress,
) -> FitResult:
    """Fit the model and log every epoch to the run."""
    metric = project.contract.metric.primary

    def log_epoch(epoch: Epoch) -> None:
        values = {"val_loss": epoch.val_loss, f"val_{metric.value}": epoch.val_metric}
        tracking.log_metrics(run_id, values, step=epoch.index)

    result: FitResult = project.call(
        "training",
        lambda: fit(
            fused,
            project.task,
            splits,
            project.settings,
            checkpoint=resume.checkpoint,
            on_epoch=log_epoch,
            progress=progress,
        ),
        mixed=True,
    )
    return result


def _baselines(project: Project, splits: Splits, fused: FusedModel, progress: Progress) -> tuple[BaselineResult, ...]:
    with repeatable(project.settings.threads):
        train, test = (_features(fused, data) for data in (splits.train, splits.test))
    return fit_baselines(project.contract, splits.train, splits.test, train, test, progress=progress)


def _features(fused: FusedModel, data: LabelledData, batch_size: int = 128) -> NDArray[Any]:
    """Fitted features of all items, [n, …] float32."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            batch = data.take(slice(start, start + batch_size))
            parts.append(fused.features(*to_tensors(batch.inputs, fused.input_names)).numpy())
    return np.concatenate(parts)


def _score(project: Project, fused: FusedModel, data: LabelledData) -> Score:
    return score_predictions(project.contract, data, predict_array(fused, data.inputs))


def _store_export(tracking: Tracking, export: ProjectExport) -> None:
    """Put the bundle and its variants' metrics into the run."""
    for variant in export.variants:
        name = variant.metric.name.value
        tracking.log_metrics(export.run_id, {metric_key(f"{variant.id}_{name}"): variant.metric.value})
    if export.ok:
        digest = hashlib.sha256(export.bundle.read_bytes()).hexdigest()
        tracking.log_tags(export.run_id, {"edgeml.bundle_sha256": digest, "edgeml.bundle": export.bundle.name})
        tracking.log_file(export.run_id, export.bundle, "bundle")


def _card(run: TrainedRun, score: Score) -> str:
    baselines = tuple(BaselineResult.from_dict(values) for values in run.report["baselines"])
    return card_text(
        run.project.contract,
        run.splits,
        score=score,
        baselines=baselines,
        settings=run.project.settings,
        parameters=run.report["parameters"],
        data_sha256=run.data_sha256,
    )
