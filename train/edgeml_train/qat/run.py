"""``edgeml train --qat``: a finished float run goes in, a run with trained weights and learned ranges comes out."""

from __future__ import annotations

import hashlib
import shlex
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_evaluate import decide, paired_loss
from edgeml_evaluate.scoring import Score, score_predictions
from edgeml_export.fakequant import measure_int8, simulate_int8
from edgeml_export.fakequant.build import int8_plans
from edgeml_runtime.progress import Progress, silent
from edgeml_train.anomaly import measure_alarms, set_threshold
from edgeml_train.calibration import calibration_items
from edgeml_train.checkpoint import ResumeFolder
from edgeml_train.fit import FitResult, fit, repeatable
from edgeml_train.fused import predict_array
from edgeml_train.overrides import apply_overrides
from edgeml_train.pipeline import recorded
from edgeml_train.provenance import code_tags, command, run_key
from edgeml_train.qat.measure import relative_rms, simulated_outputs, validation_loss
from edgeml_train.qat.module import QatModule
from edgeml_train.qat.report import QatReport, QatRow, Stage
from edgeml_train.qat.store import PARENT_TAG, find_parent, store_qat
from edgeml_train.rivals import measure_rules
from edgeml_train.runs import TrainedRun, load_run, metric_key
from edgeml_train.settings import TrainSettings
from edgeml_train.tracking import Tracking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeml_evaluate.data import LabelledData
    from edgeml_export.fakequant import MeasuredVariant, SimulatedModel
    from edgeml_runtime.contract import Contract
    from edgeml_train.callbacks import Epoch
    from edgeml_train.project import Project

__all__ = ["train_qat_project"]


def train_qat_project(project: Project, *, run_id: str | None = None, progress: Progress = silent) -> QatReport:
    """Train a finished run on with the rounding of its int8 variants, in a tracked run of its own.

    Weights begin as the run's, ranges as calibration finds them. Validation, in the simulated int8, decides which
    epoch is kept, or that none is better than the start. An interrupted training is taken up where it stopped.

    Args:
        project: The opened project; of its settings those of the run hold, but for ``train.qat_epochs``,
            ``train.qat_learning_rate`` and what ``--set`` overrides.
        run_id: The run to start from; None for the latest finished one that is not quantization-aware itself.
        progress: Told about every step.

    Returns:
        What float model, post-training int8 and this training give on the test split.

    Raises:
        ProjectError: When there is no such run, task.py or the data have changed since, the contract has no int8
            variant, nothing in the model is quantized, or no epoch has a finite loss.
        KeyboardInterrupt: On Ctrl-C; the run is marked as killed and can be taken up.
    """
    started = time.monotonic()
    int8_plans(project.contract)
    tracking = Tracking(project.folder, project.contract.name)
    parent = load_run(project, find_parent(tracking, run_id), progress=progress)
    start = _Start(parent=parent, contract=project.contract, settings=_settings(project, parent))
    resume = ResumeFolder(project.state_folder / "resume", _key(start))
    with resume.locked():
        with repeatable(start.settings.threads):
            simulated = simulate_int8(
                parent.fused,
                start.contract,
                calibration=start.calibration,
                test=parent.splits.test,
                validation=parent.splits.validation,
                progress=progress,
            )
        own_id = _begin(start, project, tracking, resume)
        with recorded(tracking, own_id, resume):
            rows = _rows_before(start, progress)
            result = _fit(start, simulated, tracking, resume, own_id, progress)
            rows += _rows_after(start, simulated, rows[0], progress)
            report = QatReport(
                run_id=own_id,
                parent_run_id=parent.run_id,
                tracking_uri=tracking.uri,
                split=parent.splits.name,
                rows=tuple(row.row for row in rows),
                epochs=len(result.history),
                best_epoch=result.best_epoch + 1,
                resumed_at=None if result.resumed_at is None else result.resumed_at + 1,
                ranges=len(simulated.learned().ranges),
                data_sha256=parent.data_sha256,
                duration_s=time.monotonic() - started,
            )
            _store(start, simulated, tracking, report, rows)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What is fixed before the training has a run.

    Attributes:
        parent: The float run; after training its model holds the trained weights.
        contract: The contract as it stands now.
        settings: The run's settings, with what was overridden.
    """

    parent: TrainedRun
    contract: Contract
    settings: TrainSettings

    @property
    def calibration(self) -> LabelledData:
        """The items that export calibrates with."""
        return calibration_items(self.contract, self.parent.splits, self.settings.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A row, with what it was computed from."""

    row: QatRow
    score: Score
    outputs: NDArray[Any]


def _settings(project: Project, parent: TrainedRun) -> TrainSettings:
    """The run's settings; what concerns this training alone, and what ``--set`` says, as it is now."""
    own = {key: value for key, value in project.settings.to_dict().items() if key.startswith("qat_")}
    base = parent.project.settings.to_dict() | own
    _, train = apply_overrides({}, base, [text for text in project.overrides if text.startswith("train.")])
    return TrainSettings.parse(train, source="--set")


def _key(start: _Start) -> str:
    """Digest of everything that shapes the result."""
    rules = start.contract.export
    shaping = (start.parent.run_id, int8_plans(start.contract), rules.float_scopes, rules.calibration_items)
    trained = replace(start.parent.project, settings=start.settings)
    text = f"qat {run_key(trained, start.parent.data_sha256)} {shaping!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(start: _Start, project: Project, tracking: Tracking, resume: ResumeFolder) -> str:
    """The interrupted run with the same key, or a new one."""
    interrupted = resume.run_id()
    if interrupted and tracking.resume(interrupted):
        return interrupted
    resume.clear()
    parent = start.parent
    params: dict[str, Any] = {f"train.{key}": value for key, value in start.settings.to_dict().items()}
    params |= {"split": parent.splits.name, "data_sha256": parent.data_sha256, "qat.parent_run": parent.run_id}
    words = shlex.join(["--qat", "--run", parent.run_id])
    tags = code_tags(project) | {PARENT_TAG: parent.run_id, "edgeml.command": f"{command(project)} {words}"}
    run_id = tracking.start(f"{start.contract.name}-{start.contract.version}-qat", params, tags)
    resume.begin(run_id)
    return run_id


def _fit(
    start: _Start,
    simulated: SimulatedModel,
    tracking: Tracking,
    resume: ResumeFolder,
    run_id: str,
    progress: Progress,
) -> FitResult:
    """Train, and leave the best weights and ranges in both models; an epoch of −1 is the start."""
    parent, metric = start.parent, start.contract.metric.primary
    settings = replace(start.settings, epochs=start.settings.qat_epochs, learning_rate=start.settings.qat_learning_rate)
    begun = {name: tensor.clone() for name, tensor in simulated.state_dict().items()}
    with repeatable(settings.threads):
        loss = validation_loss(simulated, parent.project.task, parent.splits.validation)

    def log_epoch(epoch: Epoch) -> None:
        values = {"val_loss": epoch.val_loss, f"val_{metric.value}": epoch.val_metric}
        tracking.log_metrics(run_id, values, step=epoch.index)

    result = parent.project.call(
        "training",
        lambda: fit(
            simulated,
            parent.project.task,
            parent.splits,
            settings,
            module_type=QatModule,
            checkpoint=resume.checkpoint,
            on_epoch=log_epoch,
            progress=progress,
        ),
        mixed=True,
    )
    if not result.history[result.best_epoch].val_loss < loss:
        simulated.load_state_dict(begun)
        result = replace(result, best_epoch=-1)
    parent.fused.load_state_dict(simulated.fused_state())
    parent.fused.eval()
    if start.contract.anomaly:
        set_threshold(start.contract, parent.splits, parent.fused)
    return result


def _rows_before(start: _Start, progress: Progress) -> list[_Measured]:
    """The float model, and its int8 variants as export makes them without this training."""
    parent = start.parent
    with repeatable(start.settings.threads):
        outputs = predict_array(parent.fused, parent.splits.test.inputs)
        variants = measure_int8(
            parent.fused, start.contract, calibration=start.calibration, items=parent.splits.test, progress=progress
        )
    reference = _measured(start, Stage.FLOAT, "PyTorch", outputs, None)
    return [reference, *(_of_variant(start, Stage.POST_TRAINING, variant, reference) for variant in variants)]


def _rows_after(start: _Start, simulated: SimulatedModel, reference: _Measured, progress: Progress) -> list[_Measured]:
    """The trained weights in float, and the int8 variants with the learned ranges."""
    parent, test = start.parent, start.parent.splits.test
    with repeatable(start.settings.threads):
        outputs = predict_array(parent.fused, test.inputs)
        variants = measure_int8(
            parent.fused,
            start.contract,
            calibration=start.calibration,
            items=test,
            learned=simulated.learned(),
            progress=progress,
        )
        rows = [_measured(start, Stage.QUANTIZATION_AWARE, "PyTorch", outputs, reference)]
        for variant in variants:
            measured = _of_variant(start, Stage.QUANTIZATION_AWARE, variant, reference)
            expected = simulated_outputs(simulated, test, variant.format)
            row = replace(
                measured.row,
                simulation_rms=relative_rms(expected, variant.outputs),
                float_rms=relative_rms(outputs, variant.outputs),
            )
            rows.append(replace(measured, row=row))
    return rows


def _of_variant(start: _Start, stage: Stage, variant: MeasuredVariant, reference: _Measured) -> _Measured:
    return _measured(start, stage, variant.id, variant.outputs, reference)


def _measured(start: _Start, stage: Stage, model: str, outputs: NDArray[Any], reference: _Measured | None) -> _Measured:
    contract, test = start.contract, start.parent.splits.test
    score = score_predictions(contract, test, outputs)
    loss = None
    if reference is not None:
        before, after = decide(contract, reference.outputs), decide(contract, outputs)
        loss = paired_loss(contract, before, after, test.targets)
    return _Measured(row=QatRow(stage=stage, model=model, metric=score.metric, loss=loss), score=score, outputs=outputs)


def _alarms(start: _Start, trained: _Measured) -> dict[str, Any] | None:
    """What the alarms of the trained model are worth; None unless it gives anomaly scores."""
    parent, contract = start.parent, start.contract
    if contract.anomaly is None:
        return None
    threshold = set_threshold(contract, parent.splits, parent.fused)
    rules = measure_rules(parent.project, parent.splits, parent.fused)
    return measure_alarms(contract, parent.splits, threshold, decide(contract, trained.outputs), rules).to_dict()


def _store(
    start: _Start, simulated: SimulatedModel, tracking: Tracking, report: QatReport, rows: list[_Measured]
) -> None:
    """Log figures, and store weights, ranges and a report as that of any other run."""
    parent, contract = start.parent, start.contract
    trained = next(row for row in rows if row.row.stage is Stage.QUANTIZATION_AWARE)
    name, value, floor = contract.metric.primary.value, trained.score.metric.value, contract.metric.floor
    values = {metric_key(f"{row.row.stage.value}_{row.row.model}_{name}"): row.score.metric.value for row in rows}
    tracking.log_metrics(report.run_id, values | {f"test_{name}": value, "best_epoch": float(report.best_epoch)})
    run = {
        "overrides": [text for text in parent.overrides if text.startswith("data.")],
        "train": start.settings.to_dict(),
        "report": {
            **parent.report,
            "run_id": report.run_id,
            "tracking_uri": report.tracking_uri,
            "metric": trained.score.metric.to_dict(),
            "floor_met": value >= floor if contract.metric.primary.higher_is_better else value <= floor,
            "slices": [part.to_dict() for part in trained.score.slices],
            "epochs": report.epochs,
            "best_epoch": report.best_epoch,
            "resumed_at": report.resumed_at,
            "duration_s": report.duration_s,
            "ranking": None,
            "anomaly": _alarms(start, trained),
            "qat": report.to_dict(),
        },
    }
    store_qat(tracking, report.run_id, parent.fused, simulated.learned(), run, parent=parent.run_id)
