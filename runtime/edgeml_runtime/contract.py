"""The contract: what a model promises, as frozen data.

The text form is ``edgeml.toml`` (docs/contract.md). :func:`edgeml_runtime.contract_parse.parse_contract` builds these
values and reports every fault at once; :func:`edgeml_runtime.contract_parse.contract_to_dict` is its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = [
    "AnomalyRules",
    "Budget",
    "BudgetName",
    "CalibrationMethod",
    "Contract",
    "ExportRules",
    "GateRules",
    "MetricName",
    "MetricSpec",
    "Provenance",
    "SliceRules",
    "Statistic",
    "TargetKind",
    "TargetSpec",
    "TelemetryFeature",
    "WeightScales",
]


class TargetKind(Enum):
    """What the model decides."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    ANOMALY = "anomaly"


class MetricName(Enum):
    """The metrics a contract can gate on."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    MACRO_F1 = "macro_f1"
    MAE = "mae"
    RMSE = "rmse"
    ROC_AUC = "roc_auc"
    PARTIAL_AUC = "partial_auc"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self not in (MetricName.MAE, MetricName.RMSE)


class BudgetName(Enum):
    """The quantities a budget can limit; throughput is a lower limit, every other one an upper limit."""

    LATENCY_MS_P50 = "latency_ms_p50"
    LATENCY_MS_P95 = "latency_ms_p95"
    LATENCY_MS_P99 = "latency_ms_p99"
    THROUGHPUT_PER_S = "throughput_per_s"
    COLD_START_MS = "cold_start_ms"
    PEAK_RSS_MB = "peak_rss_mb"
    BUNDLE_MB = "bundle_mb"
    INSTRUCTIONS = "instructions"


class Provenance(Enum):
    """How a figure was obtained."""

    MEASURED = "measured"
    EMULATED = "emulated"
    ESTIMATED = "estimated"


class CalibrationMethod(Enum):
    """How the range of an activation is taken from the values that calibration items give it."""

    MIN_MAX = "min_max"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class WeightScales(Enum):
    """How many scales the int8 weights of a layer have."""

    PER_CHANNEL = "per_channel"
    PER_TENSOR = "per_tensor"


class Statistic(Enum):
    """What a telemetry feature takes from one tensor of one item."""

    VALUE = "value"
    MEAN = "mean"
    STD = "std"
    RMS = "rms"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What the model predicts.

    Attributes:
        name: Name of the predicted quantity, such as ``"digit"``.
        kind: Classification, regression, or how unusual an item is.
    """

    name: str
    kind: TargetKind


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """The primary metric.

    Attributes:
        primary: Which metric.
        floor: The value a model must reach to be registered (an upper limit for errors such as ``mae``).
    """

    primary: MetricName
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyRules:
    """When an anomaly score becomes an alarm, and what the alarms are worth.

    Attributes:
        false_alarms_per_day: The score's threshold is the lowest that keeps to it on the validation items.
        item_minutes: How often a device asks the model.
        rearm_minutes: How long an alarm lasts; no further one is raised meanwhile.
        event_recall_floor: Share of the test set's events that a model must find.
        false_alarms_per_day_limit: Most of them on the test set; None for no limit.
    """

    false_alarms_per_day: float
    item_minutes: float
    rearm_minutes: float = 60.0
    event_recall_floor: float = 0.0
    false_alarms_per_day_limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRules:
    """The named subsets on which the metric is also reported.

    Attributes:
        by: Names of attributes the task gives for each item, such as ``"speaker"``.
        min_items: Slices with fewer items are reported but marked as too small to judge.
    """

    by: tuple[str, ...] = ()
    min_items: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRules:
    """What exported variants must keep.

    Attributes:
        variants: Ids to export, in the order in which ``variant="auto"`` tries them.
        required: Ids without which there is no bundle; ``edgeml export`` exits 1 when one of them fails.
        fp32_max_abs_of_std: Largest absolute difference of logits between PyTorch and an fp32 variant over the test
            set, as a share of the standard deviation of PyTorch's logits.
        max_metric_drop: Largest allowed loss of the primary metric of a quantized variant against fp32, in units of the
            metric (0.005 is half a point of accuracy).
        max_metric_drop_items: The same allowance in test items, paired over the same ones; the larger of the two holds.
        max_slice_drop: ``max_metric_drop`` for each slice of at least ``slices.min_items`` items.
        max_slice_drop_items: The same allowance in items of the slice; the larger of the two holds.
        float_scopes: Dotted module paths inside the fused model that stay float in int8 variants.
        calibration_items: How many items of the training split calibrate the activation ranges.
        calibration: How a range is taken from their activations.
        weights: Scales of the weights of layers that compute in integers: one per output channel, or one per tensor,
            which is all that some backends know.
        oldest_onnxruntime: The oldest ONNX Runtime that variants for it must run on, such as ``1.15``; it decides the
            opset.
    """

    variants: tuple[str, ...] = ("tflite-int8", "onnx-int8", "tflite-fp32", "onnx-fp32")
    required: tuple[str, ...] = ("onnx-fp32",)
    fp32_max_abs_of_std: float = 1e-4
    max_metric_drop: float = 0.005
    max_metric_drop_items: int = 2
    max_slice_drop: float = 0.05
    max_slice_drop_items: int = 2
    float_scopes: tuple[str, ...] = ("features",)
    calibration_items: int = 256
    calibration: CalibrationMethod = CalibrationMethod.MIN_MAX
    weights: WeightScales = WeightScales.PER_CHANNEL
    oldest_onnxruntime: str = "1.15"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """How a candidate is compared with the incumbent.

    Attributes:
        margin: Non-inferiority margin in units of the primary metric.
    """

    margin: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit for one device profile.

    Attributes:
        profile: Name of the device profile, or ``"host"``.
        name: The limited quantity.
        limit: The limit, in the unit the name states.
        variant: Variant id the limit is for, or None for the one ``auto`` picks.
        backend: Backend the limit is for, or None for the variant's own.
        backend_version: Release the limit was set with, or None for any.
        threads: Threads the limit is for, or None for the profile's default.
        accepts: Provenances that can decide it.
    """

    profile: str
    name: BudgetName
    limit: float
    variant: str | None = None
    backend: str | None = None
    backend_version: str | None = None
    threads: int | None = None
    accepts: tuple[Provenance, ...] = (Provenance.MEASURED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryFeature:
    """One histogram watched in the field, and stored as reference in the bundle.

    Attributes:
        name: Name of the histogram.
        tensor: An input or output of the contract.
        statistic: What is taken from the tensor of one item.
        edges: Bin edges, strictly increasing; buckets are upper-inclusive ``(a, b]``, with one below and one above.
    """

    name: str
    tensor: str
    statistic: Statistic
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything a model promises.

    Attributes:
        name: Name of the model: lower-case letters, digits and dashes.
        version: ``MAJOR.MINOR.PATCH``.
        description: One or two sentences for the card.
        inputs: At least one.
        outputs: At least one; a classifier has exactly one with role ``scores`` (with labels) and at most one with role
            ``logits`` of the same shape. An anomaly score has role ``value``; above 1 it is an alarm.
        target: What is predicted.
        metric: The primary metric with its floor.
        slices: Reported subsets.
        group: Attribute that must not cross the split (speaker, student, machine), or None.
        export: What variants must keep.
        gate: How a candidate is judged.
        budgets: Limits per device profile.
        telemetry: Histograms watched in the field.
        anomaly: When a score is an alarm; None unless the target is an anomaly score.
    """

    name: str
    version: str
    description: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    target: TargetSpec
    metric: MetricSpec
    slices: SliceRules
    group: str | None
    export: ExportRules
    gate: GateRules
    budgets: tuple[Budget, ...]
    telemetry: tuple[TelemetryFeature, ...]
    anomaly: AnomalyRules | None = None
