"""Export: a fused PyTorch model becomes a verified bundle of ONNX and TFLite variants."""

from edgeml_export.export import ExportOptions, export_bundle
from edgeml_export.graph.folding import Folding
from edgeml_export.hostile import HostileResult
from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.parity import Parity
from edgeml_export.report import ExportReport, VariantReport
from edgeml_export.scheme import (
    KNOWN_VARIANTS,
    CalibrationMethod,
    Precision,
    QuantScheme,
    VariantPlan,
    VariantSpec,
)
from edgeml_export.search import SearchStep, ValidationLoss
from edgeml_export.sensitivity import LayerLoss
from edgeml_export.vnni_check import VnniCheck
from edgeml_runtime.backends.onnxruntime import keep_onnxruntime_quiet

__all__ = [
    "KNOWN_VARIANTS",
    "CalibrationMethod",
    "ExportOptions",
    "ExportReport",
    "Folding",
    "HostileResult",
    "Inventory",
    "LayerLoss",
    "OperatorCount",
    "Parity",
    "Precision",
    "QuantScheme",
    "SearchStep",
    "ValidationLoss",
    "VariantPlan",
    "VariantReport",
    "VariantSpec",
    "VnniCheck",
    "export_bundle",
]

# Modules of this package import ONNX Runtime themselves, none of them before this line.
keep_onnxruntime_quiet()
