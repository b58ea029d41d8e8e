"""Judging a foreign file by what it gave as it ships, against what it gave as plainly as its backend can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate import (
    LabelledData,
    decide,
    decision_output,
    event_loss,
    paired_loss,
    score_predictions,
    slice_losses,
)
from edgeml_export.foreign.report import UnscoredReport
from edgeml_export.golden_cases import choose_items, tolerances
from edgeml_export.hostile import HOSTILE_CASES, judge_hostile, unbounded
from edgeml_export.parity import measure_parity
from edgeml_export.report import VariantReport
from edgeml_export.scheme import Precision
from edgeml_export.trial import event_fault
from edgeml_export.vnni_check import VnniCheck
from edgeml_export.without_vnni import emulator, run_without_vnni
from edgeml_runtime.errors import BackendError, ProjectError
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.progress import Progress, ProgressEvent
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from edgeml_export.foreign.facts import ForeignFacts
    from edgeml_export.foreign.items import TrialItems
    from edgeml_export.foreign.mapping import TensorMapping
    from edgeml_export.foreign.process import ForeignRuns
    from edgeml_export.scheme import VariantSpec
    from edgeml_runtime.contract import Contract

__all__ = ["ForeignTrial", "GoldenItems", "judge_foreign"]

Outputs = Mapping[str, NDArray[Any]]

_INTEGERS = frozenset({Precision.INT8, Precision.INT8_DYNAMIC})
# Scores that are integers inside end half a step beyond 0 and 1.
_SCORE_MARGIN = 0.01
# Both sides run the same file, so only the order of sums differs; but plain kernels add one product after the other,
# and their own rounding reached 1e-4 of the standard deviation in a MobileNetV2. Golden vectors allow as much.
_PLAIN_SUMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTrial:
    """A foreign file, tried.

    Attributes:
        spec: Which variant it is.
        content: The file as it ships.
        facts: What it is.
        mapping: The contract's tensors in it.
        min_backend_version: Oldest release of the backend that is known to run it.
        items: What it was tried on.
        runs: What it gave.
    """

    spec: VariantSpec
    content: bytes
    facts: ForeignFacts
    mapping: TensorMapping
    min_backend_version: str
    items: TrialItems
    runs: ForeignRuns

    def rules(self, contract: Contract) -> dict[str, float]:
        """How far answers may lie from ours, by the rule of golden vectors: contract output name → difference.

        Args:
            contract: The contract.
        """
        count = self.items.count if self.items.labelled is not None else None
        outputs = {name: values[:count] for name, values in self.runs.outputs.items()}
        return tolerances(contract, outputs, self.spec.precision)

    def golden(self, contract: Contract) -> GoldenItems:
        """The items that golden vectors are chosen from: those on which both configurations agree by the rule.

        Nobody chose the quantization of this file so that two right ways to compute it agree on every item; one at the
        edge between two answers would say nothing of a device. Where there is no better item, the tolerances grow.

        Args:
            contract: The contract.
        """
        rules, compared = self.rules(contract), self.runs.compared
        if self.items.labelled is not None:
            compared = compared[: -len(HOSTILE_CASES)]
        differences = {name: self._differences(name)[: len(compared)] for name in rules}
        steady = np.all([differences[name] <= rules[name] for name in rules], axis=0)
        kept = steady if steady.any() else np.ones(len(compared), bool)
        chosen = compared[kept]
        return GoldenItems(
            positions=chosen,
            items=self.items.everything.take(chosen),
            outputs={name: values[chosen] for name, values in self.runs.outputs.items()},
            tolerances={name: max(rules[name], float(differences[name][kept].max())) for name in rules},
        )

    def _differences(self, name: str) -> NDArray[np.float64]:
        """Per compared item, the largest difference of an output."""
        found = self.runs.outputs[name][self.runs.compared].astype(np.float64)
        difference = np.abs(found - self.runs.reference[name])
        return np.asarray(difference.reshape(len(difference), -1).max(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenItems:
    """What golden vectors are chosen from.

    Attributes:
        positions: Of the items, among all that were run.
        items: The items, with their answers where they are known.
        outputs: Contract output name → what the file gave for them.
        tolerances: Contract output name → how far a device's answers may lie from that.
    """

    positions: NDArray[np.intp]
    items: LabelledData
    outputs: Outputs
    tolerances: Mapping[str, float]


def judge_foreign(trial: ForeignTrial, contract: Contract, progress: Progress) -> VariantReport | UnscoredReport:
    """Judge a file.

    Args:
        trial: What it gave.
        contract: Its ``export`` holds the tolerances.
        progress: Told when the run without VNNI begins and ends.

    Returns:
        The report, with the reason not to ship it where there is one.

    Raises:
        ProjectError: An output is not what the contract says, is NaN or infinite for an item, or holds no scores.
    """
    _check_outputs(trial, contract)
    name, count = decision_output(contract), trial.items.count
    compared = trial.runs.compared[: -len(HOSTILE_CASES)]
    reference, found = trial.runs.reference[name], trial.runs.outputs[name]
    quantized = trial.spec.quantized
    tried = UnscoredReport(
        id=trial.spec.id,
        quantized=quantized,
        bytes=len(trial.content),
        inventory=trial.facts.inventory,
        parity=measure_parity(name, reference[: len(compared)], found[compared]),
        hostile=judge_hostile(
            reference[len(compared) :],
            found[count:],
            tolerance=None if quantized else _PLAIN_SUMS * contract.export.fp32_max_abs_of_std,
        ),
        without_vnni=_without_vnni(trial, contract, progress),
        reason=None,
    )
    if trial.items.labelled is None:
        return tried.judged(_fault(tried, trial, contract) or _rough_fault(tried, trial, contract))
    report = _scored(tried, trial, contract, trial.items.labelled)
    reasons = _fault(tried, trial, contract), _loss_fault(report, trial, contract), event_fault(report.event_loss)
    return report.judged(next((reason for reason in reasons if reason is not None), None))


def _scored(tried: UnscoredReport, trial: ForeignTrial, contract: Contract, test: LabelledData) -> VariantReport:
    """The same with the metric, and what the shipped configuration loses of it against the reference one."""
    name = decision_output(contract)
    found = trial.runs.outputs[name][: len(test)]
    compared = trial.runs.compared[: -len(HOSTILE_CASES)]
    part = test.take(compared)
    before = decide(contract, trial.runs.reference[name][: len(compared)])
    after = decide(contract, found[compared])
    score = score_predictions(contract, test, found)
    return VariantReport(
        id=tried.id,
        quantized=tried.quantized,
        bytes=tried.bytes,
        inventory=tried.inventory,
        metric=score.metric,
        slices=score.slices,
        paired_loss=paired_loss(contract, before, after, part.targets),
        slice_losses=slice_losses(contract, part, before, after),
        alarms=score.alarms,
        event_loss=event_loss(contract, part, before, after) if contract.anomaly else None,
        parity=tried.parity,
        hostile=tried.hostile,
        float_layers=(),
        small_layers=(),
        search=(),
        without_vnni=tried.without_vnni,
        required=True,
        reason=None,
    )


def _check_outputs(trial: ForeignTrial, contract: Contract) -> None:
    """Outputs are the contract's, finite for every item, and scores are scores."""
    for spec in contract.outputs:
        found, plain = trial.runs.outputs[spec.name], trial.runs.reference[spec.name]
        if found.dtype.name != spec.dtype.value or found.shape[1:] != spec.shape:
            raise ProjectError(
                f"output {spec.name!r}: expected {spec.dtype.value}{list(spec.shape)} for one item, found "
                f"{found.dtype.name}{list(found.shape[1:])} when it ran"
            )
        for values, what in ((found[: trial.items.count], "it"), (plain, trial.runs.configuration)):
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if bad.size:
                raise ProjectError(f"output {spec.name!r}: {what} gives NaN or infinity for item {int(bad[0])}")
        low, high = float(np.nanmin(found)), float(np.nanmax(found))
        if spec.role is OutputRole.SCORES and not -_SCORE_MARGIN <= low <= high <= 1 + _SCORE_MARGIN:
            raise ProjectError(
                f"output {spec.name!r}: expected scores from 0 to 1, found {low:.3g} to {high:.3g}: these are logits; "
                "put a softmax behind them in the model, and give both outputs (roles logits and scores) or the scores "
                "alone"
            )


def _without_vnni(trial: ForeignTrial, contract: Contract, progress: Progress) -> VnniCheck | None:
    """Run the items of the golden vectors and the hostile inputs on an emulated CPU."""
    if trial.spec.format is not ModelFormat.ONNX or trial.spec.precision not in _INTEGERS:
        return None
    allowed = trial.rules(contract)
    first = next(iter(allowed))
    if emulator() is None:
        return VnniCheck(items=0, output=first, max_abs=0.0, tolerance=allowed[first])
    golden = trial.golden(contract)
    hostile = np.arange(trial.items.count, trial.items.count + len(HOSTILE_CASES))
    chosen = np.union1d(golden.positions[choose_items(contract, golden.items, {})], hostile)
    inputs = {trial.mapping.inputs[name].name: feed[chosen] for name, feed in trial.items.feeds.items()}
    names = {name: tensor.name for name, tensor in trial.mapping.outputs.items()}
    step = f"{trial.spec.id} without VNNI"
    progress(ProgressEvent(step=step, done=0, total=1))
    try:
        found = run_without_vnni(trial.content, inputs, list(names.values()))
    except BackendError as error:
        raise ProjectError(f"{trial.spec.id}: {error}") from error
    progress(ProgressEvent(step=step, done=1, total=1))
    here = {name: trial.runs.outputs[name][chosen].astype(np.float64) for name in names}
    differences = {name: float(np.abs(here[name] - found[theirs]).max()) for name, theirs in names.items()}
    worst = max(differences, key=lambda name: differences[name] / allowed[name])
    return VnniCheck(items=len(chosen), output=worst, max_abs=differences[worst], tolerance=allowed[worst])


def _fault(report: UnscoredReport, trial: ForeignTrial, contract: Contract) -> str | None:
    """Why it must not be shipped, as far as that needs no labels."""
    parity, configuration = report.parity, trial.runs.configuration
    allowed = _PLAIN_SUMS * contract.export.fp32_max_abs_of_std
    if not report.quantized and parity.max_abs_of_std > allowed:
        return (
            f"{parity.output} differ from those of {configuration} by up to {parity.max_abs_of_std:.2e} of their "
            f"standard deviation, {_PLAIN_SUMS} times export.fp32_max_abs_of_std allows {allowed:.2e}"
        )
    bad = [result for result in report.hostile if not result.within]
    if bad:
        return (
            f"for the hostile input {bad[0].case!r} it differs from {configuration} by {bad[0].max_abs:.2e}, "
            f"{bad[0].allowed:.2e} is allowed"
        )
    hostile = {name: values[trial.items.count :] for name, values in trial.runs.outputs.items()}
    saturates = report.without_vnni.fault if report.without_vnni else None
    if saturates is not None:
        saturates += "; quantize it again with weights of 7 bits (reduce_range=True)"
    return unbounded(hostile) or saturates or _company_fault(trial, contract)


def _company_fault(trial: ForeignTrial, contract: Contract) -> str | None:
    """A device runs several items at once where the file lets it, and each must get the answer that it gets alone."""
    rules = trial.rules(contract)
    for name, found in trial.runs.together.items():
        alone = trial.runs.outputs[name][: len(found)]
        if found.shape != alone.shape or not np.allclose(found, alone, rtol=0, atol=rules[name]):
            return (
                f"output {name!r} of an item depends on the others in its batch, whose dimension the file leaves open; "
                "fix it with python -m onnxruntime.tools.make_dynamic_shape_fixed"
            )
    return None


def _rough_fault(report: UnscoredReport, trial: ForeignTrial, contract: Contract) -> str | None:
    """Without labels, what a quantized variant loses is not known; outputs that are off on average say enough."""
    allowed = trial.rules(contract)[report.parity.output]
    if not report.quantized or report.parity.mean_abs <= allowed:
        return None
    return (
        f"{report.parity.output} differ from those of {trial.runs.configuration} by {report.parity.mean_abs:.2e} on "
        f"average over noise, {allowed:.2e} is allowed; give labelled items with --data, which tell whether that "
        "matters"
    )


def _loss_fault(report: VariantReport, trial: ForeignTrial, contract: Contract) -> str | None:
    metric = contract.metric.primary.value
    loss = report.paired_loss
    if not loss.within:
        return (
            f"loses {loss.drop:.4f} of {metric} against {trial.runs.configuration} on {loss.n} test items; "
            f"{loss.allowed_drop:.4f} is allowed by export.max_metric_drop and export.max_metric_drop_items"
        )
    bad = [item for item in report.slice_losses if not item.within]
    if not bad:
        return None
    worst = max(bad, key=lambda item: item.loss.drop - item.loss.allowed_drop)
    return (
        f"on the slice {worst.name} it loses {worst.loss.drop:.4f} of {metric} against {trial.runs.configuration} over "
        f"{worst.loss.n} test items; {worst.loss.allowed_drop:.4f} is allowed by export.max_slice_drop and "
        "export.max_slice_drop_items"
    )
