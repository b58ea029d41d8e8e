"""The pipeline: joins data, baselines, fitting, tracking and export."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_evaluate.metrics import decide
from edgeml_evaluate.scoring import Score, score_predictions
from edgeml_runtime.errors import ProjectError, StorageError
from edgeml_runtime.progress import Progress, silent
from edgeml_train.anomaly import AnomalyReport, measure_alarms, set_threshold
from edgeml_train.baseline import BaselineResult, best_baseline
from edgeml_train.begin import Beginning, begin, slimmed_model
from edgeml_train.calibration import calibration_items
from edgeml_train.card import card_text
from edgeml_train.checkpoint import ResumeFolder
from edgeml_train.fit import FitResult, build_fused, fit, repeatable
from edgeml_train.fused import FusedModel, predict_array
from edgeml_train.networks import count_parameters
from edgeml_train.provenance import code_tags, run_key
from edgeml_train.qat.store import card_lines, stored_ranges
from edgeml_train.report import ProjectExport, TrainReport
from edgeml_train.rivals import against_boosting, choose_model, measure_baselines, measure_rules, rank_test
from edgeml_train.runs import TrainedRun, load_run, metric_key, store_run
from edgeml_train.simpler import Kept
from edgeml_train.slim.start import remember
from edgeml_train.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeml_evaluate.alarms import Threshold
    from edgeml_evaluate.data import LabelledData
    from edgeml_export.export import ExportOptions
    from edgeml_runtime.contract import Contract
    from edgeml_train.callbacks import Epoch
    from edgeml_train.distil import Teacher
    from edgeml_train.project import Project
    from edgeml_train.slim import Slimming, SlimRequest
    from edgeml_train.task import Splits

__all__ = ["TrainedRun", "export_project", "load_run", "train_project"]


def train_project(
    project: Project, *, teacher: str | None = None, slim: SlimRequest | None = None, progress: Progress = silent
) -> TrainReport:
    """Train a project: baselines first, then the model, all of it in one tracked run.

    When the last training with the same data, settings and code was interrupted, it is taken up where it stopped;
    otherwise a new run begins.

    Args:
        project: The opened project.
        teacher: The run to learn from as well, see :func:`edgeml_train.distil.load_teacher`; None without.
        slim: The run to start from with fewer channels, see :mod:`edgeml_train.slim`; None for a fresh network.
        progress: Told about every step.

    Returns:
        What the run came to.

    Raises:
        ProjectError: When project or data cannot be used.
        TargetError: When the tracking server cannot be reached.
        KeyboardInterrupt: On Ctrl-C; the run is marked as killed and can be taken up.
    """
    started = time.monotonic()
    beginning = begin(project, teacher, slim, progress=progress)
    project, splits, digest, lineage = beginning.project, beginning.splits, beginning.data_sha256, beginning.lineage
    tracking = Tracking(project.folder, project.contract.name)
    resume = ResumeFolder(project.state_folder / "resume", run_key(project, digest, lineage))
    with resume.locked():
        with repeatable(project.settings.threads):
            fused, slimming = _model(beginning, resume, progress)
        run_id = _begin(beginning, tracking, resume, count_parameters(fused.network), slimming)
        with recorded(tracking, run_id, resume):
            report = _train(project, splits, fused, lineage.teacher, tracking, resume, run_id, progress)
            report = replace(report, data_sha256=digest, duration_s=time.monotonic() - started, slimming=slimming)
            store_run(project, tracking, run_id, fused, report, slimming)
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

    Ranges of activations come from items chosen by :func:`edgeml_train.calibration.calibration_items`, or from the run
    where it learned them; the precision search judges by the validation split, and nothing but the final score reads
    the test split.

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
            calibration=calibration_items(contract, run.splits, settings.seed),
            test=run.splits.test,
            validation=run.splits.validation,
            options=options,
            out=target.resolve(),
            golden_files={index: str(path) for index, path in run.splits.files.items()},
            card=_card(run, score) + card_lines(run.report),
            learned=stored_ranges(project, run.run_id, run.report),
            progress=progress,
        )
    export = ProjectExport(run_id=run.run_id, split=run.splits.name, training=run.report, export=report)
    _store_export(Tracking(project.folder, contract.name), export)
    return export


@contextmanager
def recorded(tracking: Tracking, run_id: str, resume: ResumeFolder) -> Iterator[None]:
    """Record how the run ends; an interrupted one, or one stopped by the machine, can be taken up again.

    Args:
        tracking: Where the run is.
        run_id: The run.
        resume: Where its unfinished training is kept.
    """
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


def _model(beginning: Beginning, resume: ResumeFolder, progress: Progress) -> tuple[FusedModel, Slimming | None]:
    """A fresh model, or that of a run without some of its channels."""
    source, profile = beginning.source, beginning.lineage.profile
    if source is None:
        return _fitted(beginning.project, beginning.splits), None
    card = _card(source, _score(source.project, source.fused, source.splits.test)) if profile else ""
    return slimmed_model(source, beginning.lineage, resume, card=card, progress=progress)


def _fitted(project: Project, splits: Splits) -> FusedModel:
    """A fresh model, its features fitted on the training split where they have something to learn."""
    fused = project.call("building the model", lambda: build_fused(project.task, project.settings.seed))
    learn = getattr(fused.features, "fit", None)
    if learn is not None:
        project.call("fitting the features", lambda: learn(splits.train.inputs))
    project.call("running the model", lambda: fused.check(splits.train.inputs))
    return fused


def _begin(
    beginning: Beginning, tracking: Tracking, resume: ResumeFolder, parameters: int, slimming: Slimming | None
) -> str:
    """The interrupted run with the same key, or a new one."""
    project, splits, lineage = beginning.project, beginning.splits, beginning.lineage
    interrupted = resume.run_id()
    if interrupted and tracking.resume(interrupted):
        return interrupted
    resume.clear()
    params: dict[str, Any] = {f"train.{key}": value for key, value in project.settings.to_dict().items()}
    params |= {f"data.{key}": value for key, value in project.data.items()}
    params |= {"split": splits.name, "data_sha256": beginning.data_sha256, "parameters": parameters}
    params |= lineage.params(slimming)
    params |= {f"items.{name}": len(getattr(splits, name)) for name in ("train", "validation", "test")}
    tags = code_tags(project, lineage) | lineage.tags()
    run_id = tracking.start(f"{project.contract.name}-{project.contract.version}", params, tags)
    resume.begin(run_id)
    if slimming is not None:
        remember(resume.path, slimming)
    return run_id


def _train(
    project: Project,
    splits: Splits,
    fused: FusedModel,
    teacher: Teacher | None,
    tracking: Tracking,
    resume: ResumeFolder,
    run_id: str,
    progress: Progress,
) -> TrainReport:
    metric = project.contract.metric.primary
    baselines = measure_baselines(project, splits, fused, progress)
    tracking.log_metrics(run_id, {metric_key(f"baseline_{b.name}_{metric.value}"): b.metric.value for b in baselines})
    result = _fit_logged(project, splits, fused, teacher, tracking, resume, run_id, progress)
    with repeatable(project.settings.threads):
        threshold = set_threshold(project.contract, splits, fused) if project.contract.anomaly else None
        choice = choose_model(project, splits, fused) if project.settings.prefer_simpler else None
        logits = predict_array(fused, splits.test.inputs)
    score = score_predictions(project.contract, splits.test, logits)
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
        unreadable=splits.unreadable,
        ranking=rank_test(project.contract, splits.test, logits),
        choice=choice,
        anomaly=_alarms(project, splits, fused, threshold, logits),
        boosting=against_boosting(project.contract, splits.test, baselines, logits),
        teacher=teacher,
        fast=project.fast,
    )


def _alarms(
    project: Project, splits: Splits, fused: FusedModel, threshold: Threshold | None, outputs: NDArray[Any]
) -> AnomalyReport | None:
    if threshold is None:
        return None
    rules = measure_rules(project, splits, fused)
    return measure_alarms(project.contract, splits, threshold, decide(project.contract, outputs), rules)


def _fit_logged(
    project: Project,
    splits: Splits,
    fused: FusedModel,
    teacher: Teacher | None,
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
            teacher=teacher,
            checkpoint=resume.checkpoint,
            on_epoch=log_epoch,
            progress=progress,
        ),
        mixed=True,
    )
    return result


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
        linear=(run.report.get("choice") or {}).get("kept") == Kept.LINEAR.value,
        columns=run.project.data if run.project.task.table else {},
        fast=run.report.get("fast") is not None,
        teacher=run.report.get("teacher"),
        slimming=run.report.get("slimming"),
        data_sha256=run.data_sha256,
    )
