"""Export: a fused PyTorch model becomes a verified bundle of ONNX and TFLite variants."""

from edgeml_export.export import export_bundle
from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.parity import Parity
from edgeml_export.report import ExportReport, VariantReport
from edgeml_export.scheme import KNOWN_VARIANTS, CalibrationMethod, Precision, QuantScheme, VariantSpec

__all__ = [
    "KNOWN_VARIANTS",
    "CalibrationMethod",
    "ExportReport",
    "Inventory",
    "OperatorCount",
    "Parity",
    "Precision",
    "QuantScheme",
    "VariantReport",
    "VariantSpec",
    "export_bundle",
]
