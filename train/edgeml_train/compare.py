"""Comparing runs: quality over the same items, size, and speed side by side on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate import decide, difference_interval
from edgeml_evaluate.metrics import compute_metric
from edgeml_evaluate.scoring import MetricValue, score_predictions
from edgeml_evaluate.slices import interval_groups
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import BackendError, InputError, ProjectError
from edgeml_runtime.measure.loop import measure_interleaved, quantile
from edgeml_runtime.measure.subject import bundle_subject
from edgeml_runtime.progress import Progress, ProgressEvent, silent
from edgeml_train.fit import repeatable
from edgeml_train.fused import predict_array
from edgeml_train.networks.count import count_parameters
from edgeml_train.runs import TrainedRun, load_run
from edgeml_train.slim.channels import count_macs
from edgeml_train.slim.start import feature_example
from edgeml_train.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeml_evaluate import Interval
    from edgeml_train.project import Project

__all__ = ["ComparedRun", "RunComparison", "ShippedFigures", "compare_runs"]

_MOST = 6
_THREADS = 1
_NOT_EXPORTED = "not exported: edgeml export PROJECT --run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedFigures:
    """One variant of a run's bundle.

    Attributes:
        bytes: Size of the model file.
        bundle_bytes: Size of the whole bundle.
        metric: The primary metric of these bytes on the test set, as the bundle states it.
        latency_us: Median time of a prediction on this machine, in µs; None where it does not run here.
        ratio: Median over the rounds of that time ÷ the first exported run's in the same round; None without one.
    """

    bytes: int
    bundle_bytes: int
    metric: float
    latency_us: float | None = None
    ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "bytes": self.bytes,
            "bundle_bytes": self.bundle_bytes,
            "metric": self.metric,
            "latency_us": self.latency_us,
            "ratio": self.ratio,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run among others.

    Attributes:
        run_id: MLflow's id.
        made: How its network came about, in words.
        metric: The contract's metric of the float model on the test set.
        better: How much better it is than the first run over the same items, in the metric's unit; None for that one.
        interval: The 95 % interval of ``better``; None for the first run.
        parameters: Trained parameters of the network.
        macs: Multiplications and additions of the network for one item, in pairs.
        shipped: The variant in its bundle; None where it was not exported.
    """

    run_id: str
    made: str
    metric: MetricValue
    better: float | None
    interval: Interval | None
    parameters: int
    macs: int
    shipped: ShippedFigures | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "run_id": self.run_id,
            "made": self.made,
            "metric": self.metric.to_dict(),
            "better": self.better,
            "interval": self.interval.to_dict() if self.interval else None,
            "parameters": self.parameters,
            "macs": self.macs,
            "shipped": self.shipped.to_dict() if self.shipped else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Runs over the same test items; the first one is what the others are compared with.

    Attributes:
        split: Which split, in the task's words.
        variant: The variant that sizes and times are of; None where no run was exported.
        runs: In the order in which they were named.
        notes: What a reader should know besides, one sentence each.
    """

    split: str
    variant: str | None
    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "split": self.split,
            "variant": self.variant,
            "runs": [run.to_dict() for run in self.runs],
            "notes": list(self.notes),
        }


def compare_runs(
    project: Project,
    run_ids: Sequence[str] = (),
    *,
    variant: str | None = None,
    seconds: float = 1.0,
    progress: Progress = silent,
) -> RunComparison:
    """Compare finished runs of a project.

    Nothing is trained or exported: sizes and times are those of the bundles that ``edgeml export`` has stored with the
    runs. Times are taken in one process, the runs in turns in shuffled order.

    Args:
        project: The opened project.
        run_ids: Ids or their beginnings, at least two, the one to compare with first; none for the latest that
            finished, up to six, oldest first.
        variant: The variant to compare; None for the first one of the contract that every exported run has.
        seconds: How long each run is timed.
        progress: Told about every step.

    Returns:
        The comparison.

    Raises:
        InputError: When there are fewer than two runs.
        ProjectError: When a run cannot be loaded, their data differ, or none has the variant.
    """
    tracking = Tracking(project.folder, project.contract.name)
    runs = _load(project, _chosen(tracking, run_ids), progress)
    bundles = _bundles(tracking, runs)
    chosen = _variant(project, bundles, variant)
    shipped, notes = _measured(bundles, chosen, seconds, progress) if chosen else ({}, [])
    notes += [f"{run.run_id[:8]} was {_NOT_EXPORTED} {run.run_id[:8]}" for run in runs if run.run_id not in bundles]
    return RunComparison(
        split=runs[0].splits.name, variant=chosen, runs=tuple(_compared(runs, shipped)), notes=tuple(notes)
    )


def _chosen(tracking: Tracking, run_ids: Sequence[str]) -> list[str]:
    found = [tracking.find(run_id).run_id for run_id in run_ids]
    if not run_ids:
        finished = [run for run in tracking.runs() if run.status == "FINISHED"]
        same = [run for run in finished if run.params.get("data_sha256") == finished[0].params.get("data_sha256")]
        found = [run.run_id for run in reversed(same[:_MOST])]
    if len(dict.fromkeys(found)) < 2:
        raise InputError(
            f"expected at least two finished runs of the same data to compare, found {len(set(found))}. Train again "
            "with other settings, --teacher or --slim."
        )
    return list(dict.fromkeys(found))


def _load(project: Project, run_ids: Sequence[str], progress: Progress) -> list[TrainedRun]:
    runs: list[TrainedRun] = []
    for number, run_id in enumerate(run_ids):
        progress(ProgressEvent(step="runs", done=number, total=len(run_ids), message=run_id[:8]))
        run = load_run(project, run_id)
        if runs and run.data_sha256 != runs[0].data_sha256:
            raise ProjectError(
                f"run {run.run_id}: expected the data of run {runs[0].run_id} ({runs[0].splits.name}), found others "
                f"({run.splits.name}). Figures over other items cannot be compared: train again on the same split."
            )
        runs.append(run)
    return runs


def _bundles(tracking: Tracking, runs: Sequence[TrainedRun]) -> dict[str, Path]:
    """Run → its stored bundle, where it was exported; in the order of the runs."""
    names = {record.run_id: record.tags.get("edgeml.bundle") for record in tracking.runs()}
    return {
        run.run_id: tracking.file(run.run_id, f"bundle/{names[run.run_id]}") for run in runs if names.get(run.run_id)
    }


def _variant(project: Project, bundles: Mapping[str, Path], wanted: str | None) -> str | None:
    if not bundles:
        return None
    held = [set(_sizes(path)) for path in bundles.values()]
    common = set.intersection(*held)
    if wanted is not None and wanted not in common:
        raise ProjectError(
            f"--variant {wanted}: expected a variant that every exported run has, {', '.join(sorted(common)) or 'none'}"
        )
    order = [*project.contract.export.variants, *sorted(common)]
    return wanted or next((name for name in order if name in common), None)


def _sizes(path: Path) -> dict[str, tuple[int, float]]:
    """Variant → size of its file, and its metric."""
    with Bundle.open(path) as bundle:
        return {
            item.id: (bundle.member(item.file).size_bytes, float(item.metrics["metric"]["value"]))
            for item in bundle.manifest.variants
        }


def _measured(
    bundles: Mapping[str, Path], variant: str, seconds: float, progress: Progress
) -> tuple[dict[str, ShippedFigures], list[str]]:
    figures = {}
    times, notes = _times(bundles, variant, seconds, progress)
    first = next(iter(times.values()), None)
    for run_id, path in bundles.items():
        size, metric = _sizes(path)[variant]
        rounds = times.get(run_id)
        # Rounds of the same number lie next to each other in time.
        ratios = [a / b for a, b in zip(rounds, first, strict=False)] if rounds and first else []
        figures[run_id] = ShippedFigures(
            bytes=size,
            bundle_bytes=path.stat().st_size,
            metric=metric,
            latency_us=float(np.median(rounds)) / 1e3 if rounds else None,
            ratio=float(np.median(ratios)) if ratios else None,
        )
    return figures, notes


def _times(
    bundles: Mapping[str, Path], variant: str, seconds: float, progress: Progress
) -> tuple[dict[str, list[int]], list[str]]:
    """Run → the median time of every round in nanoseconds; and what does not run here."""
    notes = []
    with ExitStack() as stack:
        calls = {}
        for run_id, path in bundles.items():
            try:
                subject = bundle_subject(str(path), variant, _THREADS)
            except BackendError as error:
                notes.append(f"{run_id[:8]}: {variant} does not run here: {error}")
                continue
            stack.callback(subject.close)
            calls[run_id] = subject.run
        samples = measure_interleaved(calls, seconds=seconds, progress=progress) if calls else {}
    unsteady = [run_id[:8] for run_id, sample in samples.items() if not sample.steady]
    notes += [f"{run_id}: its times had not settled after the warm-up" for run_id in unsteady]
    return {run_id: [quantile(part, 0.5) for part in sample.rounds_ns] for run_id, sample in samples.items()}, notes


def _compared(runs: Sequence[TrainedRun], shipped: Mapping[str, ShippedFigures]) -> list[ComparedRun]:
    contract, test = runs[0].project.contract, runs[0].splits.test
    groups = interval_groups(contract, test)
    name, rows = contract.metric.primary, []
    first: NDArray[Any] | None = None
    for run in runs:
        with repeatable(run.project.settings.threads):
            outputs = predict_array(run.fused, test.inputs)
        decisions = decide(contract, outputs)
        better = interval = None
        if first is None:
            first = decisions
        else:
            change = compute_metric(name, test.targets, decisions) - compute_metric(name, test.targets, first)
            better = change if name.higher_is_better else -change
            interval = difference_interval(name, test.targets, first, decisions, groups)
        rows.append(
            ComparedRun(
                run_id=run.run_id,
                made=_made(run.report),
                metric=score_predictions(contract, test, outputs).metric,
                better=better,
                interval=interval,
                parameters=count_parameters(run.fused.network),
                macs=count_macs(run.fused.network, feature_example(run)),
                shipped=shipped.get(run.run_id),
            )
        )
    return rows


def _made(report: Mapping[str, Any]) -> str:
    """How a run's network came about."""
    teacher, slimming = report.get("teacher"), report.get("slimming")
    parts = ["quantization-aware"] if report.get("qat") else []
    if slimming:
        parts.append(f"slimmed {slimming['run_id'][:8]} to {slimming['keep']:.3g}")
    if teacher:
        project = f"{teacher['project']}:" if teacher["project"] else ""
        parts.append(f"taught by {project}{teacher['run_id'][:8]}")
    return ", ".join(parts) or "from scratch"
